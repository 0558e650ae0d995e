"""LoRA adapters as PEFT writes them: what one is, and whether the engine can serve it. Nothing of it is run."""
