"""What keeps the pods of a deployment apart from others."""
