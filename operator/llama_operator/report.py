"""Reporting: the status is written, then events tell of what changed in it."""

import logging
from collections.abc import Iterable

from llama_operator.ports import Cluster, KubeEvent, Manifest, Owner, Rejected, Retry

log = logging.getLogger(__name__)


async def write_report(owner: Owner, status: Manifest, events: Iterable[KubeEvent], *, cluster: Cluster) -> None:
    """Write the status, then record the events."""
    await cluster.write_status(owner.key, status, kind=owner.kind)
    for event in events:
        log.info("%s/%s %s: %s", owner.key.namespace, owner.key.name, event.reason, event.message)
        try:
            await cluster.record_event(owner, event)
        except (Retry, Rejected) as error:  # an event is a courtesy: the status has it all
            log.warning("event %s of %s was not recorded: %s", event.reason, owner.key.name, error)
