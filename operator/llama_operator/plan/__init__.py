"""The pure decision: from a snapshot to a plan."""
