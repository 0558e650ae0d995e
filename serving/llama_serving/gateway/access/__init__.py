"""Who calls, how much each client may take, and what it has taken."""
