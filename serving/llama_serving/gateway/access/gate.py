"""The gate of the public port: who a request is from, whether it may come in, and what it took when it leaves.

    enter     the key, or without keys the client's address; before anything else is looked at
    begin     requests per minute and at a time; before the body is read
    reserve   the model, and the tokens that the request is expected to take
    leave     the tokens that it took in the end: settled with the limits, booked in the ledger

Without rules everybody comes in and nobody is counted, unless the config says that there must be rules: then nobody
comes in until they have been read. What was read last holds while the API server cannot be reached.
"""

from collections.abc import Callable

from aiohttp import web

from llama_serving.config.access.rules import AccessRules
from llama_serving.config.access.usage import MOST_CLIENTS_TOLD, ClientUsage
from llama_serving.gateway.access.pure import denied
from llama_serving.gateway.access.pure.account import Account, Denial
from llama_serving.gateway.access.pure.accounts import Accounts
from llama_serving.gateway.access.pure.books import Period
from llama_serving.gateway.access.pure.denied import AccessDeniedError
from llama_serving.gateway.access.pure.presented import (
    LONGEST_KEY,
    client_of_address,
    client_of_header,
    digest_of,
    presented_key,
)
from llama_serving.gateway.access.pure.usage import Usage
from llama_serving.gateway.access.visit import Visit
from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.telemetry.log import LOGGER, fields

#: Seconds after its last request for which other gateways are told of a client.
TOLD_FOR = 120.0


class Gate:
    """``required``: nobody comes in without rules. ``clock`` for limits, ``wall``: seconds since 1970, for expiry."""

    def __init__(self, *, required: bool, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.accounts = Accounts()
        self.period = Period()
        self.denials: dict[str, int] = {}  # requests that had no key that lets them in, by code
        self._closed = required
        self._required = required
        self._clock = clock
        self._wall = wall

    @property
    def rules(self) -> AccessRules | None:
        """The rules that hold; None: there are none."""
        return self.accounts.rules

    @property
    def is_closed(self) -> bool:
        """Whether nobody comes in."""
        return self._closed

    def take_over(self, rules: AccessRules | None) -> None:
        """Replace the rules, and end what runs or waits with a key that may not call any more."""
        before = [visit for account in self.accounts for visit in account.visits]
        self.accounts.take_over(rules, self._clock())
        self._closed = rules is None and self._required
        ended = [visit for visit in before if self._is_over(visit)]
        for visit in ended:
            visit.is_over = True
            if visit.cut is not None:
                visit.cut()
        LOGGER.info("rules of access taken over", extra=fields(**_told(rules), ended=len(ended)))

    def close(self, reason: str) -> None:
        """Let nobody in, unless there are rules: what should be read cannot be used."""
        if self.rules is None:
            self._closed = True
        LOGGER.error("rules of access cannot be used, keeping those known before", extra=fields(reason=reason))

    def enter(self, request: web.BaseRequest) -> Visit | None:
        """Return who a request is from; None where nobody is told apart. Raises AccessDeniedError."""
        rules = self.accounts.rules
        if rules is None:
            if self._closed:
                raise self._deny(denied.not_told())
            return None
        if rules.mode == "open":
            return Visit(self.accounts.client(self._client(request, rules.client_header), self._clock()))
        key = presented_key(request.headers)
        if key is None:
            raise self._deny(denied.no_key())
        entry = self.accounts.key(digest_of(key)) if len(key) <= LONGEST_KEY else None
        if entry is None:
            raise self._deny(denied.wrong_key())
        expires = entry.key.expires
        if expires is not None and (ago := self._wall() - expires) >= 0:
            raise self._deny(denied.expired_key(entry.key.name, ago=ago))
        return Visit(entry.account, entry)

    def begin(self, visit: Visit) -> None:
        """Let a request in that a group shall answer; ``leave`` must follow. Raises AccessDeniedError."""
        account = visit.account
        denial = account.begin(self._clock())
        if denial is not None:
            raise _over(account, denial)
        account.visits.add(visit)

    def reserve(self, visit: Visit, *, size: RequestSize | None) -> None:
        """Reserve the tokens that a request is expected to take. Raises AccessDeniedError.

        ``size``: None for one that is no work for a group.
        """
        if visit.is_over:
            raise denied.wrong_key()
        if size is None:
            return
        tokens = size.prompt_tokens + size.answer_tokens
        denial = visit.account.reserve(tokens, self._clock())
        if denial is not None:
            raise _over(visit.account, denial)
        visit.reserved, visit.expected = tokens, size.prompt_tokens

    def leave(self, visit: Visit, *, used: Usage | None, worked: int = 0) -> None:
        """Settle a request that has ended; ``used``: what it is billed, None: nothing.

        ``worked``: tokens that count for the limits where nothing is billed.
        """
        account = visit.account
        if visit not in account.visits:
            return
        account.visits.discard(visit)
        took = worked if used is None else used.prompt_tokens + used.answer_tokens
        if account.tokens is not None and took != visit.reserved:
            account.tokens.settle(took - visit.reserved)
        if used is None:
            return
        totals = account.totals
        totals.requests += 1
        totals.prompt_tokens += used.prompt_tokens
        totals.cached_tokens += used.cached_tokens
        totals.answer_tokens += used.answer_tokens
        self.period.add(account.name, visit.model, used)

    def told(self) -> dict[str, ClientUsage]:
        """Return what other gateways are told: of clients with limits that called lately."""
        now = self._clock()
        lately = [
            account
            for account in self.accounts
            if account.has_limits and (account.visits or now - account.last_used < TOLD_FOR)
        ]
        return {account.name: account.usage(now) for account in lately[-MOST_CLIENTS_TOLD:]}

    def _client(self, request: web.BaseRequest, header: str) -> str:
        given = request.headers.getall(header, ()) if header else ()
        named = client_of_header(given[-1], header=header) if given else ""
        return named or client_of_address(request.remote or "")

    def _deny(self, error: AccessDeniedError) -> AccessDeniedError:
        self.denials[error.code] = self.denials.get(error.code, 0) + 1
        return error

    def _is_over(self, visit: Visit) -> bool:
        """Return whether a request may not go on; where the rules are gone, what was let in does."""
        if self.rules is None or self.rules.mode == "open":
            return False
        return visit.entry is None or not self.accounts.knows(visit.entry.digest)


def _over(account: Account, denial: Denial) -> AccessDeniedError:
    return denied.over_limit(
        f"{account.name}: {denial.message}",
        seconds=denial.seconds,
        headers={"x-llama-limit": f"{denial.limit}={denial.value}", **account.headers()},
    )


def _told(rules: AccessRules | None) -> dict[str, object]:
    return {"mode": "none"} if rules is None else {"mode": rules.mode, "keys": len(rules.keys)}
