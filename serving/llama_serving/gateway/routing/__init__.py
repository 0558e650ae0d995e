"""Deciding without doing: who gets which group, who waits, what is tried again.

Nothing in this package awaits, reads a clock or opens a socket: ``now`` (seconds of a monotonic clock) is an argument.
"""
