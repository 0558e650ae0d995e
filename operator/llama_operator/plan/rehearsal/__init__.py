"""What is tried before a rollout touches a group that serves."""
