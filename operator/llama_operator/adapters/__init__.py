"""The edges: the API server and the cells, each in one module."""
