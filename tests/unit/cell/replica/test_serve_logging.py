"""Serve's log handlers survive vLLM's set-up of logging."""

import logging
import logging.config
from logging.handlers import MemoryHandler
from pathlib import Path

from llama_serving.cell.replica.serve_logging import preserved_handlers


def test_buffers_survive_anothers_set_up_of_logging(tmp_path: Path) -> None:
    logger = logging.Logger("serve")
    buffer_target = logging.FileHandler(tmp_path / "log")
    buffer = MemoryHandler(100, target=buffer_target)
    logger.addHandler(buffer)
    with preserved_handlers(logger):
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        assert buffer.target is None, "what vLLM's set-up does; when this fails, preserved_handlers is needless"
    logger.error("a line")
    assert buffer.target is not None
    buffer.close()
    buffer_target.close()
    assert "a line" in (tmp_path / "log").read_text(encoding="utf-8")
