"""Decisions about keys and limits: no IO, no clock."""
