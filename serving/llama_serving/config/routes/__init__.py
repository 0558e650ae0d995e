"""The HTTP routes of a deployment: one table, which the gateway enforces, the replica mounts and the docs show."""
