"""How likely an engine finds each of the quality texts.

``mean_logprob = sum of the log-probabilities of a text's tokens / their number``, in nats; its first token has none.
The mean over all texts is over their tokens, not over the texts.

Means are compared only where the same texts were measured: ``measured_texts`` is equal then. A text that was longer
than the engine's context has lost its beginning, so it counts as another one under another limit.
"""

import math
from collections.abc import Mapping, Sequence

from llama_serving.config.desired import TextQuality, texts_hash

Token = Mapping[str, Mapping[str, float]]
"""The log-probabilities of one token of a text: it comes with itself as its only candidate."""


class NotMeasuredError(Exception):
    """The engine's answer has no log-probabilities that can be used; the text is one sentence."""


def text_quality(tokens: Sequence[Token | None], language: str = "") -> TextQuality:
    """Return the mean over the tokens of one text; the first token is None.

    Raises:
        NotMeasuredError: there is no token, or a log-probability that is not a number.
    """
    values = [float(candidate["logprob"]) for token in tokens if token for candidate in token.values()]
    if not values:
        raise NotMeasuredError("the engine returned no log-probabilities for a text")
    mean = sum(values) / len(values)
    if not math.isfinite(mean):
        raise NotMeasuredError("the engine returned a log-probability that is not a number")
    return TextQuality(language=language, mean_logprob=round(mean, 4), tokens=len(values))


def mean_of(texts: Sequence[TextQuality]) -> float:
    """Return the mean over the tokens of all texts."""
    return round(sum(one.mean_logprob * one.tokens for one in texts) / sum(one.tokens for one in texts), 4)


def measured_texts(texts: Sequence[str], *, longest: int, limit: int) -> str:
    """Return the name of what was measured: ``longest`` is the length of the longest text that the engine saw.

    ``limit`` is what of a text an engine sees at most. Both are in tokens.
    """
    return texts_hash(texts) if longest < limit else f"{texts_hash(texts)}-{limit}"
