"""Decides whether groups fit on the nodes, which are admitted, and what is missing when they do not fit."""
