"""LoRA adapters: the kind LlamaAdapter, and which of them a LlamaDeployment serves."""
