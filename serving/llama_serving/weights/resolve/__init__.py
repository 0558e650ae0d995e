"""Resolves a weights source to a manifest with digests; runs as a Job."""
