"""How a failure of a source or of the volume ends an attempt: refused, or tried again later."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from llama_serving.config.error_text import error_text
from llama_serving.config.reasons import StagingReason
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.source.interface import Broken, Busy, Denied, Gone
from llama_serving.weights.staging.decide.errors import RetryLater, StagingRefused, disk_full, weights_unreadable

# Seconds before a source is tried again that failed until the deadline of the attempt's retry policy.
_SOURCE_PAUSE: Final = 30.0
_VOLUME_PAUSE: Final = 10.0
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def translate_failures() -> Iterator[None]:
    """Raise StagingRefused or RetryLater in place of the failures of model, source and volume."""
    try:
        yield
    except RefusedError as error:
        raise weights_unreadable(error.message) from error
    except Denied as error:
        raise StagingRefused(StagingReason.WEIGHTS_DENIED, str(error)) from error
    except Gone as error:
        raise StagingRefused(StagingReason.WEIGHTS_GONE, str(error)) from error
    except Busy as error:
        raise RetryLater(StagingReason.WEIGHTS_BUSY, str(error), after=max(error.after or 0, _SOURCE_PAUSE)) from error
    except Broken as error:
        raise RetryLater(StagingReason.WEIGHTS_BROKEN, str(error), after=_SOURCE_PAUSE) from error
    except OSError as error:
        raise _volume_failure(error) from error


def _volume_failure(error: OSError) -> StagingRefused | RetryLater:
    where = error.filename or "the volume of the weights"
    if error.errno in _FULL:
        return disk_full(f"{where} is full ({error_text(error)}): make it larger", bytes_needed=0)
    message = f"{where} cannot be used: {error_text(error)}"
    return RetryLater(StagingReason.WEIGHTS_BROKEN, message, after=_VOLUME_PAUSE)
