"""Access to the engines: connections, one exchange at a time on each, and the meaning of its failures."""
