"""How a model is talked to: parsers of tool calls and of reasoning, and what a chat template needs of them."""
