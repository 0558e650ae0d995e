"""Starts, stops and cleans up the Ray processes of a cell."""
