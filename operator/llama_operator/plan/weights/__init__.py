"""Decides what happens to a LlamaWeights object."""
