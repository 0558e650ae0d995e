"""Routing decisions: which request goes to which backend, which requests wait, which attempts are retried.

The package is pure: it does not await, read a clock or open a socket. ``now`` (seconds of a monotonic clock) is an
argument.
"""
