"""vLLM on GPUs of several pods: stock but for how its engine core starts and ends."""
