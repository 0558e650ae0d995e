"""Tokens of cells that were read lately, so that a busy deployment does not read its Secret at every pass.

Every pass needs the token, and a rollout has several passes a second. A token never changes once it is drawn, so one
that was seen is believed for FRESH seconds. That is also how long a Secret that somebody deleted may be missing before
it is made anew: pods that are made meanwhile wait for it.
"""

from collections.abc import Callable
from typing import Final

from llama_operator.ports import Key, Manifest

FRESH: Final = 30.0  # seconds

#: Namespace, name and owners: another object of the same name has another uid, and so a token of its own.
_Place = tuple[str, str, frozenset[str]]


class KnownTokens:
    """Tokens by Secret and owner, each with the time at which it was seen; those that are old are dropped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[_Place, tuple[str, float]] = {}

    def find(self, key: Key, manifest: Manifest) -> str | None:
        """Return the token of this Secret if it was seen lately."""
        self._drop_old()
        found = self._seen.get(_place(key, manifest))
        return found[0] if found else None

    def keep(self, key: Key, manifest: Manifest, token: str) -> str:
        """Remember a token that the API server has shown or taken, and return it."""
        self._seen[_place(key, manifest)] = (token, self._clock())
        return token

    def _drop_old(self) -> None:
        oldest = self._clock() - FRESH
        self._seen = {place: one for place, one in self._seen.items() if one[1] > oldest}


def _place(key: Key, manifest: Manifest) -> _Place:
    meta = manifest["metadata"]
    return key.namespace, meta["name"], frozenset(owner["uid"] for owner in meta.get("ownerReferences", ()))
