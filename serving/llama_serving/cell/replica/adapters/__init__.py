"""LoRA adapters in the replica: which are loaded, and which one answers a request."""
