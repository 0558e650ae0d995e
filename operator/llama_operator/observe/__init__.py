"""Turns raw Kubernetes objects into frozen snapshots. Nothing is decided here."""
