"""How long a start is waited for, and how often an engine may fail in it."""

from datetime import timedelta

from llama_operator.api import LlamaDeploymentSpec

#: For image, staging and joining, on top of spec.startTimeoutSeconds.
BEFORE_START = timedelta(minutes=30)
#: Restarts of an engine that never served, after which it is not waited for any longer.
RESTARTS = 3


def start_limit(spec: LlamaDeploymentSpec) -> timedelta:
    """Return how long a group may take from its nodes to its first request."""
    return timedelta(seconds=spec.start_timeout_seconds) + BEFORE_START
