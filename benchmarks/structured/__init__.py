"""What a grammar costs: ``python -m benchmarks.structured MODEL``."""
