"""Which LoRA adapters a group shall have, how much room its engine makes for them, and how far they are."""
