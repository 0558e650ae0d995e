"""Reads a model folder: its config, its safetensors headers, and a verdict on both."""
