"""Decides how many groups a deployment has, from its load, its schedules and its limits."""
