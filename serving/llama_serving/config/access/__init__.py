"""Who may call a deployment, and how much."""
