"""Who may call a deployment and how its gateways are reached from outside."""
