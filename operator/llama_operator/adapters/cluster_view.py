"""The nodes and pods of the cluster, kept up to date by two watches: no list of them in a steady state.

Of every object only what the placement asks for is kept. The first who asks starts the watches; whoever asks before
both lists are there waits for the same lists. A watch that breaks goes on from its last version, or, where the API
server does not have that any more or sends what is no event, from a new list; with growing pauses (watching/pace.py).
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from math import inf

from llama_operator.adapters.api_calls import ApiCalls, Call, TooLarge, items_of, page_of
from llama_operator.adapters.node_capacity import NodeView, node_view, pod_request, with_pods
from llama_operator.adapters.watching.events import BrokenWatch
from llama_operator.adapters.watching.pace import TIMES, Pace, Times
from llama_operator.ports import Capacity, Forbidden, Manifest, NodeCapacity, PodRequest, Rejected, Retry
from llama_serving.config.error_text import error_text

log = logging.getLogger(__name__)

RUNNING = {"fieldSelector": "status.phase!=Failed,status.phase!=Succeeded"}
PAGE = 500  # objects at a time; fewer where a page has more bytes than an answer may have
FIRST_LOOK = 10.0  # seconds for which a caller waits for the first lists
OLDEST = 30.0  # seconds without a watch after which the view is not believed
AGAIN = 60.0  # seconds


class View:
    """What the two watches have shown, by uid of the pods and name of the nodes."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeView] = {}
        self._pods: dict[str, PodRequest] = {}
        self._of_node: dict[str, dict[str, PodRequest]] = {}  # by name; "" has those without a node
        self._made: dict[str, NodeCapacity] = {}  # those that have not changed since
        self._capacity: Capacity | None = None

    def see_node(self, body: Manifest, *, gone: bool = False) -> None:
        """Keep a node as it is now."""
        name = body["metadata"]["name"]
        if gone:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = node_view(body)
        self._changed(name)

    def see_pod(self, body: Manifest, *, gone: bool = False) -> None:
        """Keep a pod as it is now."""
        uid = body["metadata"]["uid"]
        before, now = self._pods.pop(uid, None), None if gone else pod_request(body)
        if before == now and now is not None:
            self._pods[uid] = now
            return
        if before:
            self._of_node[before.node].pop(uid, None)
            self._changed(before.node)
        if now:
            self._pods[uid] = now
            self._of_node.setdefault(now.node, {})[uid] = now
            self._changed(now.node)

    def only_nodes(self, names: set[str]) -> None:
        """Forget the nodes that a new list does not have."""
        for name in [name for name in self._nodes if name not in names]:
            self.see_node({"metadata": {"name": name}}, gone=True)

    def only_pods(self, uids: set[str]) -> None:
        """Forget the pods that a new list does not have."""
        for uid in [uid for uid in self._pods if uid not in uids]:
            self.see_pod({"metadata": {"uid": uid}}, gone=True)

    def capacity(self) -> Capacity:
        """Return what is known now; only nodes that have changed are computed anew."""
        if self._capacity is None:
            nodes = tuple(self._node(name) for name in self._nodes)
            self._capacity = Capacity(nodes, tuple(self._of_node.get("", {}).values()))
        return self._capacity

    def _node(self, name: str) -> NodeCapacity:
        if name not in self._made:
            self._made[name] = with_pods(self._nodes[name], tuple(self._of_node.get(name, {}).values()))
        return self._made[name]

    def _changed(self, node: str) -> None:
        self._made.pop(node, None)
        self._capacity = None


@dataclass
class _Watch:
    """One kind: its path and query, what a body changes in the view, and how far it is."""

    path: str
    query: dict[str, str]
    see: Callable[..., None]
    only: Callable[[set[str]], None]
    mark: str  # the field of the metadata by which ``only`` names objects
    version: str = ""
    page: int = PAGE
    pace: Pace = field(default_factory=Pace)
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    refused: str = ""  # why the rights do not suffice
    problem: str = ""  # why the last try failed
    since: float = inf  # since when there is no watch; inf: there is one


class ClusterView:
    """The view and its watches."""

    def __init__(self, calls: ApiCalls, *, times: Times = TIMES, again: float = AGAIN) -> None:
        self._calls = calls
        self._again = again  # seconds between two tries where the rights are missing
        self._view = View()
        view = self._view
        self._watches = (
            _Watch("/api/v1/nodes", {}, view.see_node, view.only_nodes, "name", pace=Pace(times)),
            _Watch("/api/v1/pods", RUNNING, view.see_pod, view.only_pods, "uid", pace=Pace(times)),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def capacity(self) -> Capacity | None:
        """Return what the watches show; None where the operator may not watch. Raises Retry before the first lists."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._follow(watch)) for watch in self._watches]
        try:
            async with asyncio.timeout(FIRST_LOOK):
                for watch in self._watches:
                    await watch.listed.wait()
        except TimeoutError:
            raise Retry(f"nodes and pods were not listed within {FIRST_LOOK:g} s") from None
        if any(watch.refused for watch in self._watches):
            return None
        now = asyncio.get_running_loop().time()
        for watch in self._watches:
            if watch.problem and (not watch.version or now - watch.since > OLDEST):
                raise Retry(watch.problem)
        return self._view.capacity()

    async def close(self) -> None:
        """End the watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _follow(self, watch: _Watch) -> None:
        """List and watch for ever."""
        while True:
            try:
                pause = await self._turn(watch)
            except Forbidden as error:
                watch.refused, watch.version, pause = str(error), "", self._again
            except BrokenWatch as error:
                watch.version = ""
                pause = self._failed(watch, str(error))
            except (Retry, Rejected) as error:  # such as 410: the version is too old
                watch.version = "" if isinstance(error, Rejected) else watch.version
                pause = self._failed(watch, str(error))
            except Exception as error:  # nothing begins the watch again
                log.exception("the watch of %s", watch.path)
                watch.version, pause = "", self._failed(watch, error_text(error))
            watch.listed.set()
            await asyncio.sleep(pause)

    def _failed(self, watch: _Watch, problem: str) -> float:
        """Note a failure; return the seconds to wait."""
        if watch.problem != problem:
            log.warning("the watch of %s is begun again: %s", watch.path, problem)
        watch.problem = problem
        watch.since = min(watch.since, asyncio.get_running_loop().time())
        return watch.pace.failed()

    async def _turn(self, watch: _Watch) -> float:
        """List where that is needed and watch to the end; return the seconds to wait before the next time."""
        if not watch.version:
            await self._list(watch)
        watch.refused, watch.problem, watch.since = "", "", inf
        watch.listed.set()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._events(watch)
        finally:
            lasted = watch.pace.lasted(loop.time() - begun)
        return 0.0 if lasted else watch.pace.failed()

    async def _list(self, watch: _Watch) -> None:
        """Read all pages, keeping no more than one of them."""
        following, seen = "", set[str]()
        while True:
            page = await self._page(watch, following)
            for body in items_of(page):
                watch.see(body)
                seen.add(body["metadata"][watch.mark])
            following = page["metadata"].get("continue") or ""
            if not following:
                break
        watch.only(seen)
        watch.version = page["metadata"]["resourceVersion"]

    async def _page(self, watch: _Watch, following: str) -> Manifest:
        """Read one page, of fewer objects from now on where they are large."""
        while True:
            query = {**watch.query, "limit": str(watch.page)} | ({"continue": following} if following else {})
            try:
                return page_of(await self._calls.send("GET", watch.path, Call(query=query)))
            except TooLarge:
                if watch.page == 1:
                    raise
                watch.page = max(1, watch.page // 4)

    async def _events(self, watch: _Watch) -> None:
        query = {**watch.query, "resourceVersion": watch.version}
        async with aclosing(self._calls.watch(watch.path, query)) as events:
            async for event in events:
                body = event.get("object") or {}
                watch.version = (body.get("metadata") or {}).get("resourceVersion") or watch.version
                if event["type"] != "BOOKMARK":
                    watch.see(body, gone=event["type"] == "DELETED")
