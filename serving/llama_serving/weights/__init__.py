"""Weights: inspection of model folders, sources, the resolver and the stager."""
