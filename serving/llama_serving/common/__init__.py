"""Helpers that the gateway, the cell and the weights tools share."""
