"""What vLLM 0.32 lacks for stages in several pods, on GPU and on CPU; one fix a module."""
