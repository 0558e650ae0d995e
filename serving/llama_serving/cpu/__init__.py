"""vLLM pipeline stages on CPU: what vLLM 0.32 lacks for them, one fix a module."""
