"""Autoscaling in real time, on the real operator and gateway, beside what the replay says of the same requests."""
