"""The work that comes in and the work that is done: what the operator scales by.

    arrived   every POST below /v1/, once, when it is known to want a group; also one that is then refused because too
              many wait. A retry or a continuation is no new request.
    waits     those in line (the line adds them up); each is expected to get ``MARGIN`` x the mean of the answers so
              far, or what it asks for if that is less
    served    those that were answered to their end, of any status

The mean moves: an answer counts as one of the last ``WINDOW`` ones, and before the first it is ``FIRST_MEAN`` tokens
(Azure's published trace of conversations, 2023, has 211). Other methods, as GET /v1/models, are no work: whoever
watches the API that way neither keeps groups alive nor wakes one.
"""

import math
from collections.abc import Iterable
from typing import Final

from llama_serving.config.gateway import WorkCount
from llama_serving.gateway.routing import token_estimate
from llama_serving.gateway.routing.request_size import RequestSize, WorkTotals

FIRST_MEAN: Final = 200.0  # tokens
WINDOW: Final = 256  # answers
MARGIN: Final = 1.2  # answers differ, and who plans for too few tokens lets requests wait


class Workload:
    """Counts since the start of this gateway; ``mean`` in tokens of an answer."""

    mean = 0.0

    def __init__(self) -> None:
        self.arrived = WorkTotals()
        self.served = WorkTotals()
        self._answers = 0  # that the mean was made of
        self._note(FIRST_MEAN)

    def arrives(self, path: str, body: bytes) -> RequestSize:
        """Count a request that wants a group; return its size while it waits."""
        asks = token_estimate.estimate(path, body)
        limit, arrived = asks.answer_tokens, self.arrived
        arrived.requests += 1
        arrived.prompt_tokens += asks.prompt_tokens
        arrived.answer_tokens += self._mean if limit is None else limit
        return RequestSize(asks.prompt_tokens, self._likely if limit is None or limit > self._likely else limit)

    def ended(self, size: RequestSize, *, tokens: int, seconds: float) -> None:
        """Count a request that was answered to its end: with so many tokens, in so many seconds on groups."""
        served = self.served
        served.requests += 1
        served.prompt_tokens += size.prompt_tokens
        served.answer_tokens += tokens
        served.seconds += seconds
        if tokens:  # an error, or an embedding, says nothing about answers
            self._note(tokens)

    def _note(self, tokens: float) -> None:
        """Take an answer into the mean, and work out what arriving requests need of it."""
        self._answers = min(self._answers + 1, WINDOW)
        self.mean += (tokens - self.mean) / self._answers
        self._mean, self._likely = round(self.mean), math.ceil(MARGIN * self.mean)


def work_count(total: WorkTotals) -> WorkCount:
    """Return a sum as the contract has it."""
    return WorkCount(
        requests=total.requests,
        prompt_tokens=total.prompt_tokens,
        answer_tokens=total.answer_tokens,
        seconds=round(total.seconds, 3),
    )


def samples(demand: Workload, waits: WorkTotals) -> Iterable[tuple[str, str, str, float]]:
    """Yield name, kind, meaning and value of each metric."""
    counter, gauge = "counter", "gauge"
    arrived, served = demand.arrived, demand.served
    yield "arrived_total", counter, "requests that wanted a group, each once", arrived.requests
    yield "arrived_prompt_tokens_total", counter, "tokens of their prompts, estimated", arrived.prompt_tokens
    yield "arrived_answer_tokens_total", counter, "tokens that they asked for", arrived.answer_tokens
    yield "waiting_prompt_tokens", gauge, "tokens of the prompts that wait, estimated", waits.prompt_tokens
    yield "waiting_answer_tokens", gauge, "tokens that they are expected to get", waits.answer_tokens
    yield "served_total", counter, "requests that were answered to their end", served.requests
    yield "served_prompt_tokens_total", counter, "tokens of their prompts, estimated", served.prompt_tokens
    yield "served_answer_tokens_total", counter, "tokens that they got", served.answer_tokens
    yield "served_seconds_total", counter, "seconds that they had a slot of a group, added up", served.seconds
