"""Rehearsal of a group without its devices and weights: ``python -m llama_serving.cell.rehearsal``.

It runs in the image that the group is to have, before anything that serves is touched. That the process starts shows
that the image is there and runs on the node. The image must read the group's config, and its engine be built for the
group's devices. On CPU the engine's configuration is built as a replica builds it, from the same arguments and the
model's config.json: what vLLM refuses by name, value or combination it refuses here.

Exit code: 0 accepted, ``names.EXIT_REFUSED`` refused; the sentence is in the termination message.
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llama_serving.cell.shared.engine_args import engine_environment, engine_kwargs
from llama_serving.cell.shared.engine_device import image_refusal
from llama_serving.cell.shared.engine_errors import last_error
from llama_serving.cell.shared.model_facts import model_facts
from llama_serving.cell.shared.termination_log import add_termination_log, write_termination_log
from llama_serving.cell.template_check import template_refusal
from llama_serving.config import names
from llama_serving.config.cell import CellConfig
from llama_serving.config.error_text import error_text
from llama_serving.config.logs.lines import set_up_log

logger = logging.getLogger("llama_serving.rehearsal")

#: Builds the engine's configuration from its arguments; raises whatever the engine raises.
Configure = Callable[[dict[str, Any]], None]


def main(argv: list[str]) -> int:
    """Rehearse; return the exit code."""
    options = _parse(argv)
    set_up_log(os.environ, stream=sys.stdout)
    refusal = rehearse(options.config, options.model, configure=configure_vllm)
    text = refusal or "accepted"
    logger.info("%s", text)
    write_termination_log(options.termination_log, text)
    return names.EXIT_REFUSED if refusal else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m llama_serving.cell.rehearsal", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path(names.CELL_CONFIG_PATH), help="the group's CellConfig")
    parser.add_argument("--model", type=Path, help="folder with config.json; none: the engine is not configured")
    add_termination_log(parser)
    return parser.parse_args(argv)


def rehearse(config_path: Path, model: Path | None, *, configure: Configure) -> str:
    """Return why the group could not start with this config and model, in one sentence; empty when nothing is known."""
    try:
        config = CellConfig.model_validate_json(config_path.read_bytes())
    except (OSError, ValidationError) as error:
        return f"the image does not read the group's config: {error_text(error)}"
    refusal = image_refusal(config) or (template_refusal(config.chat_template) if config.chat_template else "")
    return refusal or (_engine_refusal(config, model, configure) if model else "")


def _engine_refusal(config: CellConfig, model: Path, configure: Configure) -> str:
    """Return what the engine has against its configuration."""
    os.environ.update(engine_environment(config))  # before vLLM is imported, which reads it
    try:
        kwargs = engine_kwargs(config, model=model_facts(model, whole=False))
    except ValueError as error:
        return str(error)
    try:
        configure({"model": str(model), "served_model_name": config.weights.served_name, **kwargs})
    except Exception as error:  # whatever the engine has against it is the answer
        logger.exception("the engine refuses its configuration")
        return f"the engine refuses the configuration: {last_error(traceback.format_exc()) or type(error).__name__}"
    return ""


def configure_vllm(kwargs: dict[str, Any]) -> None:
    """Build vLLM's configuration, without a device and without the weights; its defaults are those of a server."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    from llama_serving.cpu.model_inspection import inspect_in_this_process

    inspect_in_this_process()
    AsyncEngineArgs(**kwargs).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
