"""The decisions of the stager, as pure functions."""
