"""Learns from a deployment's own load which rule keeps its promise for the fewest groups."""
