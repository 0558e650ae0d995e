"""Measures what the gateway does: metrics, workload, tokens."""
