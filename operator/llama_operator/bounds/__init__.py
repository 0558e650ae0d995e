"""Limits of what others make the operator read: bytes, inflated bytes, elements and depth, before any of it is kept."""
