"""Computes the status of each object from what was observed. One function for each kind."""
