"""The groups of a deployment: its leaders' pods, listed and watched (object_watch.py)."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from llama_serving.common.kube_access import Access
from llama_serving.gateway.discovery import Publish
from llama_serving.gateway.discovery.object_watch import ObjectWatch, Wanted, WatchTimes
from llama_serving.gateway.discovery.pods import adapters_fault, leader_selector, parse_endpoint
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.telemetry.log import LOGGER, fields


class KubernetesDiscovery:
    """Watches the leaders of one deployment; implements Discovery."""

    def __init__(
        self,
        *,
        deployment: str,
        namespace: str,
        access: Callable[[], Access],
        times: WatchTimes | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        selector = ("labelSelector", leader_selector(deployment))
        wanted = Wanted("groups", f"/api/v1/namespaces/{namespace}/pods", selector)
        self._watch = ObjectWatch(wanted, self._parse, access=access, times=times, jitter=jitter)
        self._faults: dict[str, str] = {}  # of annotations that are of no use, by uid, as they were said in the log

    async def run(self, publish: Publish) -> None:
        """Publish all groups whenever they change, until cancelled."""

        def changed(endpoints: Mapping[str, Endpoint]) -> None:
            self._faults = {key: fault for key, fault in self._faults.items() if key in endpoints}
            publish(tuple(endpoints.values()))

        await self._watch.run(changed)

    def _parse(self, pod: dict[str, Any]) -> Endpoint | None:
        """Return a leader's endpoint; say once what is wrong with the annotation of its adapters."""
        endpoint = parse_endpoint(pod)
        if endpoint is not None:
            key, fault = pod["metadata"]["uid"], adapters_fault(pod)
            if fault != self._faults.get(key, ""):
                self._faults[key] = fault
                if fault:
                    extra = fields(group=pod["metadata"]["name"], reason=fault)
                    LOGGER.warning("annotation of a leader's adapters ignored", extra=extra)
        return endpoint
