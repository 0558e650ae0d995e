"""Watches the processes of a stage, beside the supervisor's loop: what hangs is found, named and ended."""
