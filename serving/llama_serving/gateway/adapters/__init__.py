"""Which models exist beside the base: LoRA adapters, by name, and which of them a request is for."""
