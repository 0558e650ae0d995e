"""The Secrets with keys of clients, kept up to date by one watch a namespace; no other Secret is ever read by it.

A watch begins when somebody asks about its namespace and ends UNUSED seconds after the last time. Keys are hashed as
they are read (observe/access.py). Of a namespace at most MOST_SECRETS are kept, and a page of a list has few of them,
so that what a namespace's owner writes cannot fill the operator's memory. Each change is told at once: a key that is
revoked has two seconds.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from llama_operator.adapters.api_calls import ApiCalls, Call, items_of
from llama_operator.observe.access import is_gone, is_rules, key_secret, rules_secret
from llama_operator.ports import AccessSecrets, Forbidden, KeySecret, Manifest, Rejected, Retry, RulesSecret
from llama_serving.config import names
from llama_serving.config.access.rules import MOST_KEYS
from llama_serving.config.backoff import doubling_pause

log = logging.getLogger(__name__)

LABELLED: Final = {"labelSelector": names.LABEL_ACCESS_KEY}
PAGE: Final = "16"  # Secrets, each of up to 1 MiB
MOST_SECRETS: Final = 2 * MOST_KEYS  # of a namespace
FIRST_LOOK: Final = 10.0  # seconds for which a caller waits for the first list
AGAIN: Final = 15.0  # seconds between two tries where the right is missing
TURN: Final = 240.0  # seconds after which a watch is begun again
SHORTEST: Final = 1.0  # seconds of a watch; after a shorter one there is a pause
UNUSED: Final = 900.0  # seconds
#: What something else than an API server makes of our reading.
_OTHER_ANSWERS: Final = (KeyError, TypeError, ValueError, AttributeError)


@dataclass
class SecretsView:
    """What the watch of a namespace has shown."""

    keys: dict[str, KeySecret] = field(default_factory=dict)
    rules: dict[str, RulesSecret] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)  # names

    def see(self, body: Manifest, *, gone: bool = False) -> bool:
        """Take a Secret as it is now; return whether anything is different."""
        name = body["metadata"]["name"]
        before = (self.keys.pop(name, None), self.rules.pop(name, None), name in self.left_out)
        self.left_out.discard(name)
        if not gone and not is_gone(body):
            self._keep(name, body)
        return before != (self.keys.get(name), self.rules.get(name), name in self.left_out)

    def only(self, seen: set[str]) -> bool:
        """Forget what a new list does not have; return whether there was any."""
        old = (self.keys.keys() | self.rules.keys() | self.left_out) - seen
        return sum(self.see({"metadata": {"name": name}}, gone=True) for name in old) > 0

    def _keep(self, name: str, body: Manifest) -> None:
        if is_rules(body):
            kept = len(self.rules) < MOST_SECRETS
            if kept:
                self.rules[name] = rules_secret(body)
        else:
            kept = len(self.keys) < MOST_SECRETS
            if kept:
                self.keys[name] = key_secret(body)
        if not kept and len(self.left_out) < MOST_SECRETS:
            self.left_out.add(name)

    def secrets(self, *, denied: str) -> AccessSecrets:
        """Return all of it."""
        keys = tuple(self.keys[name] for name in sorted(self.keys))
        return AccessSecrets(keys, dict(self.rules), len(self.left_out), denied)


class NamespaceWatch:
    """The watch of one namespace."""

    def __init__(self, namespace: str, calls: ApiCalls, changed: Callable[[str], None]) -> None:
        self.task: asyncio.Task[None] | None = None
        self._namespace = namespace
        self._path = f"/api/v1/namespaces/{namespace}/secrets"
        self._calls = calls
        self._changed = changed
        self._view = SecretsView()
        self._version = ""
        self._known = False  # it was listed once
        self._denied = ""
        self._problem = ""
        self._tried = asyncio.Event()
        self._asked = 0.0

    async def secrets(self) -> AccessSecrets:
        """Return what was seen; Retry before the first list."""
        self._asked = asyncio.get_running_loop().time()
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._follow(), name=f"keys of {self._namespace}")
        try:
            async with asyncio.timeout(FIRST_LOOK):
                await self._tried.wait()
        except TimeoutError:
            raise Retry(f"the Secrets with keys were not listed within {FIRST_LOOK:g} s") from None
        if not self._known and not self._denied:
            raise Retry(self._problem or "the Secrets with keys were not listed yet")
        return self._view.secrets(denied=self._denied)

    async def _follow(self) -> None:
        """List and watch while somebody asks."""
        failures = 0
        while asyncio.get_running_loop().time() - self._asked < UNUSED:
            try:
                await self._look()
                failures = 0
            except Forbidden as error:
                failures += 1
                self._refused(str(error))
            except (Retry, Rejected, *_OTHER_ANSWERS) as error:
                failures += 1
                self._problem = (
                    str(error)
                    if isinstance(error, (Retry, Rejected))
                    else f"no list of Secrets came: {type(error).__name__}"
                )
                self._version = self._version if isinstance(error, Retry) else ""
                log.info("the watch of keys in %s is begun again: %s", self._namespace, self._problem)
            self._tried.set()
            if failures:
                await asyncio.sleep(AGAIN if self._denied else doubling_pause(failures, first=0.5, longest=30))
        self._tried.clear()
        self._version, self._known, self._view = "", False, SecretsView()

    async def _look(self) -> None:
        """List where it must be, then watch until the watch ends. Raises Retry for one that ended at once."""
        if not self._version:
            await self._list()
        self._tried.set()
        began = asyncio.get_running_loop().time()
        await self._events()
        if asyncio.get_running_loop().time() - began < SHORTEST:
            raise Retry("the watch of Secrets ended at once")

    def _refused(self, said: str) -> None:
        before, self._denied, self._version = self._denied, said, ""
        if not before:
            self._changed(self._namespace)

    async def _list(self) -> None:
        """Read page by page, keeping no more than one of them."""
        query, seen, changed = {**LABELLED, "limit": PAGE}, set[str](), not self._known or bool(self._denied)
        while True:
            page = await self._calls.send("GET", self._path, Call(query=query)) or {}
            for body in items_of(page):
                seen.add(body["metadata"]["name"])
                changed |= self._view.see(body)
            following = page["metadata"].get("continue")
            if not following:
                break
            query = {**LABELLED, "limit": PAGE, "continue": following}
        changed |= self._view.only(seen)
        self._version, self._denied, self._problem = page["metadata"]["resourceVersion"], "", ""
        self._known = True
        if changed:
            self._changed(self._namespace)

    async def _events(self) -> None:
        query = {**LABELLED, "resourceVersion": self._version}
        async with aclosing(self._calls.watch(self._path, query, seconds=TURN)) as events:
            async for event in events:
                body = event["object"]
                if event["type"] == "ERROR":  # 410: the version is too old; whatever else it is, a new list mends it
                    raise Rejected("the watch of Secrets ended with an error")
                self._version = body["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK" and self._view.see(body, gone=event["type"] == "DELETED"):
                    self._changed(self._namespace)
                if event["type"] == "DELETED" and self._view.left_out:
                    self._version = ""  # there is room for one that was left out
                    return


class AccessWatch:
    """The watches of all namespaces that were asked about."""

    def __init__(self, calls: ApiCalls, changed: Callable[[str], None]) -> None:
        self._calls = calls
        self._changed = changed
        self._watches: dict[str, NamespaceWatch] = {}

    async def secrets(self, namespace: str) -> AccessSecrets:
        """Return the Secrets of a namespace; Retry while they are not known."""
        if namespace not in self._watches:
            self._watches = {name: one for name, one in self._watches.items() if one.task and not one.task.done()}
            self._watches[namespace] = NamespaceWatch(namespace, self._calls, self._changed)
        return await self._watches[namespace].secrets()

    async def close(self) -> None:
        """End the watches."""
        tasks = [one.task for one in self._watches.values() if one.task]
        self._watches = {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
