"""Which LoRA adapters each group has, and which of them its gateways may use: pure decisions."""
