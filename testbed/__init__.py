"""A real Kubernetes for the tests: a control plane in seconds, or whole with nodes, on one Linux machine."""
