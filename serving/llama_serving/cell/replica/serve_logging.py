"""vLLM's set-up of its logs must not break those of Serve in the same process.

``logging.config.dictConfig``, called by vLLM, closes every handler that exists. Serve's buffering handlers then have no
file behind them: lines are lost, and when Serve's controller starts again it cannot take the replica over
(``'NoneType' object has no attribute 'baseFilename'``) and gives the app up.
"""

import contextlib
import logging
from collections.abc import Iterator
from logging.handlers import MemoryHandler


@contextlib.contextmanager
def preserved_handlers(logger: logging.Logger) -> Iterator[None]:
    """Restore where the logger's buffering handlers write to; a closed file is opened again."""
    targets = {handler: handler.target for handler in logger.handlers if isinstance(handler, MemoryHandler)}
    try:
        yield
    finally:
        for handler, target in targets.items():
            handler.setTarget(target)
