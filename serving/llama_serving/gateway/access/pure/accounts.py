"""All clients that are known: those with a key by its hash, those without by their name.

At most ``MOST_CLIENTS`` clients without a key are remembered. One that was idle for ``FORGOTTEN_AFTER`` seconds makes
room, because nothing of its minute is left; where none was, newcomers share one account. So a stranger with many
addresses cannot make the gateway forget what it took, nor fill its memory.
"""

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from llama_serving.config.access.rules import AccessKey, AccessRules
from llama_serving.gateway.access.pure.account import Account

MOST_CLIENTS: Final = 4096
FORGOTTEN_AFTER: Final = 120.0
#: The account of clients for which there is no room.
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True, eq=False)
class KeyEntry:
    """A key that may call, and its account. ``models``: those that it may ask for; empty: all."""

    digest: bytes
    key: AccessKey
    account: Account
    models: frozenset[str]


class Accounts:
    """The accounts under the present rules."""

    def __init__(self) -> None:
        self.rules: AccessRules | None = None
        self._by_digest: dict[bytes, KeyEntry] = {}
        self._keys: dict[str, Account] = {}
        self._clients: dict[str, Account] = {}  # the one used last is last

    def __iter__(self) -> Iterator[Account]:
        yield from self._keys.values()
        yield from self._clients.values()

    def get(self, name: str) -> Account | None:
        """Return the account of this name."""
        return self._keys.get(name) or self._clients.get(name)

    def key(self, digest: bytes) -> KeyEntry | None:
        """Return the entry of the key with this SHA-256, compared in constant time."""
        entry = self._by_digest.get(digest)
        return entry if entry is not None and hmac.compare_digest(entry.digest, digest) else None

    def client(self, name: str, now: float) -> Account:
        """Return the account of a client without a key."""
        account = self._clients.pop(name, None)
        if account is None:
            account = self._new_client(name, now)
        self._clients[account.name] = account
        return account

    def hear_of(self, name: str, now: float) -> Account | None:
        """Return the account of a client that calls another gateway; None where there is no room for it here."""
        found = self.get(name)
        if found is None and self.rules is not None and self.rules.mode == "open" and len(self._clients) < MOST_CLIENTS:
            found = self._clients[name] = Account(name, self.rules.client, now)
            found.last_used = now - FORGOTTEN_AFTER  # it has not called here
        return found

    def take_over(self, rules: AccessRules | None, now: float) -> None:
        """Replace the rules; a client that stays keeps what it has taken."""
        self.rules = rules
        keys: Iterable[AccessKey] = () if rules is None or rules.mode == "open" else rules.keys
        before, self._keys, self._by_digest = self._keys, {}, {}
        for key in keys:
            account = self._keys.get(key.name) or before.get(key.name)
            if account is None:
                account = Account(key.name, key, now)
            account.change(key, now)
            self._keys[key.name] = account
            digest = bytes.fromhex(key.sha256)
            self._by_digest.setdefault(digest, KeyEntry(digest, key, account, frozenset(key.models)))
        if rules is None or rules.mode != "open":
            self._clients = {}
        for account in self._clients.values():
            account.change(rules.client if rules else account.limits, now)

    def knows(self, digest: bytes) -> bool:
        """Return whether a key that was let in before may still call."""
        return digest in self._by_digest

    def _new_client(self, name: str, now: float) -> Account:
        assert self.rules is not None
        if len(self._clients) >= MOST_CLIENTS:
            oldest = next(iter(self._clients.values()))
            if oldest.visits or now - oldest.last_used < FORGOTTEN_AFTER:
                shared = self._clients.pop(OTHERS, None)
                if shared is not None:
                    return shared
                name = OTHERS
            else:
                del self._clients[oldest.name]
        return Account(name, self.rules.client, now)
