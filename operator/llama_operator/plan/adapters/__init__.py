"""Which LoRA adapters a group shall have, how much room its engine makes, how far they are, and who may use them."""
