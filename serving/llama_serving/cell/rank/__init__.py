"""Code that runs inside the vLLM worker of each rank."""
