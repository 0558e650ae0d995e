"""Clients' connections: how many there are, what they take of memory and descriptors, and how slow they may be."""
