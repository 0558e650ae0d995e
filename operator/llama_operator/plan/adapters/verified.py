"""Whether a group answers with an adapter: its leader says ready, of the base that the group has."""

from llama_operator.plan.groups.group import Group
from llama_serving.config.state import AdapterOutcome, AdapterProgress


def is_verified(progress: AdapterProgress | None, group: Group) -> bool:
    """Return whether it was verified on the base that the group has now, which a cell names by digest or id."""
    if progress is None or progress.outcome != AdapterOutcome.READY:
        return False
    return progress.base in ("", group.target_digest, group.weights)
