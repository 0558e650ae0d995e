"""Replay of the autoscaling policy over a trace, in virtual time, beside other systems' rules and a lower bound."""
