"""The way to the engines: connections, one exchange at a time on each, and what its failures mean."""
