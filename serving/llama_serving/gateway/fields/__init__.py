"""The outermost fields of a request's body, read once, within bounds of bytes, parts, depth and time. Pure."""
