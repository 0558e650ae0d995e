"""Sentences about what keeps the operator from serving a namespace."""

from collections.abc import Sequence


def crds_missing(kinds: Sequence[str]) -> str:
    """Name the CRDs that are not there."""
    which = f"CRD {kinds[0]} is" if len(kinds) == 1 else f"CRDs {', '.join(kinds[:-1])} and {kinds[-1]} are"
    return f"the {which} not installed; apply crds/, or install the chart with crds.install=true"


def right_missing(plural: str, *, said: str) -> str:
    """Name the kind that may not be watched, with the API server's words."""
    return f"the operator may not list and watch {plural}, give its ServiceAccount the rules of the chart: {said}"


def namespace_closed(namespace: str, *, said: str) -> str:
    """Say that nothing in a namespace may be seen: its Role goes with it."""
    return f"namespace {namespace} is gone, or the operator has no right in it: {said}"


def watch_failed(said: str) -> str:
    """Say that a watch has ended."""
    return f"a watch ended and is begun again: {said}"


def lease_refused(said: str) -> str:
    """Say that the lease of a namespace cannot be had."""
    return f"the lease of the namespace is refused: {said}"


def starting() -> str:
    """Say that nothing is known yet."""
    return "the operator is starting"


def standing_by(holder: str) -> str:
    """Say who serves instead."""
    return f"stands by, {holder} holds the lease" if holder else "waits for the lease"


def serving() -> str:
    """Say that it serves."""
    return "serves"
