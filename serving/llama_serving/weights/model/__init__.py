"""Reads a model folder: its config and its safetensors headers; refuses what may not be served."""
