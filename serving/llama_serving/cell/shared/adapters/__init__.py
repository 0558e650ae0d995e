"""LoRA adapters as supervisor, replica and ranks name them."""
