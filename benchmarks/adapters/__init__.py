"""What requests with LoRA adapters cost."""
