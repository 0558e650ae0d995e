"""The edges: the API server, the supervisors and the gateways, each in one module."""
