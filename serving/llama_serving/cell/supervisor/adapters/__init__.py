"""LoRA adapters in the leader's supervisor: loaded, verified, served."""
