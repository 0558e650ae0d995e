"""Who may call a deployment, and what leads to its gateways from outside."""
