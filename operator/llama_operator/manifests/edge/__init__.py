"""What decides who may call the gateways, and what leads to them from outside."""
