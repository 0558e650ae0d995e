"""The workload that arrives and the workload that is served: what the operator scales by.

    arrived   every POST below /v1/, once, when it needs a group; also one that is then rejected because the queue is
              full. A retry or a continuation is not a new request.
    waits     requests in the queue (the queue totals them); each is expected to get ``MARGIN`` x the mean of the
              answers so far, or what it asks for if that is less
    served    requests answered completely, with any status

The mean moves over the last ``WINDOW`` answers; before the first answer it is ``FIRST_MEAN`` tokens (Azure's published
trace of conversations, 2023, has 211). Other methods, such as GET /v1/models, are no workload: a monitor that uses them
neither keeps groups running nor starts one.
"""

import math
from typing import Final

from llama_serving.config.gateway import WorkCount
from llama_serving.gateway.fields.scanner import Body
from llama_serving.gateway.routing import token_estimate
from llama_serving.gateway.routing.request_size import RequestSize, WorkTotals
from llama_serving.gateway.routing.token_estimate import TokenEstimate

FIRST_MEAN: Final = 200.0  # tokens
WINDOW: Final = 256  # answers
MARGIN: Final = 1.2  # answers vary, and a plan for too few tokens lets requests wait


class Workload:
    """Counts since the start of this gateway; ``mean`` in tokens of an answer."""

    mean = 0.0

    def __init__(self) -> None:
        self.arrived = WorkTotals()
        self.served = WorkTotals()
        self._answers = 0  # in the mean
        self._update_mean(FIRST_MEAN)

    def count_arrival(self, path: str, body: Body) -> RequestSize:
        """Count a request that needs a group; return its size while it waits."""
        estimate = token_estimate.estimate(path, body)
        self.count_estimate(estimate)
        return self.size_of(estimate)

    def size_of(self, estimate: TokenEstimate) -> RequestSize:
        """Return the size of a request while it waits."""
        limit = estimate.answer_tokens
        return RequestSize(estimate.prompt_tokens, self._likely if limit is None or limit > self._likely else limit)

    def count_estimate(self, estimate: TokenEstimate) -> None:
        """Count a request that needs a group."""
        limit, arrived = estimate.answer_tokens, self.arrived
        arrived.requests += 1
        arrived.prompt_tokens += estimate.prompt_tokens
        arrived.answer_tokens += self._mean if limit is None else limit

    def count_served(self, size: RequestSize, *, tokens: int, seconds: float) -> None:
        """Count a request answered completely: with ``tokens`` tokens, after ``seconds`` on groups."""
        served = self.served
        served.requests += 1
        served.prompt_tokens += size.prompt_tokens
        served.answer_tokens += tokens
        served.seconds += seconds
        if tokens:  # an error, or an embedding, has none
            self._update_mean(tokens)

    def _update_mean(self, tokens: float) -> None:
        """Add an answer to the mean, and compute what arriving requests are expected to get."""
        self._answers = min(self._answers + 1, WINDOW)
        self.mean += (tokens - self.mean) / self._answers
        self._mean, self._likely = round(self.mean), math.ceil(MARGIN * self.mean)


def work_count(total: WorkTotals) -> WorkCount:
    """Return the totals as part of ``GatewayLoad``."""
    return WorkCount(
        requests=total.requests,
        prompt_tokens=total.prompt_tokens,
        answer_tokens=total.answer_tokens,
        seconds=round(total.seconds, 3),
    )
