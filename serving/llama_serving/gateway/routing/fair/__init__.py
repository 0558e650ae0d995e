"""Whose turn it is among clients whose requests wait."""
