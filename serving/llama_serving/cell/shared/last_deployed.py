"""What Serve was last given, in a file of the leader: a replica that Serve starts anew begins with it.

Serve gives a new replica the arguments of the app, which never change while it runs, and its ``user_config`` only
afterwards. Without the file it would load the weights of the start first and swap them at once.
"""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llama_serving.cell.shared.weights_ref import LINKS
from llama_serving.common.message_file import read_message, write_message
from llama_serving.config.cell import WeightsRef

PATH: Final = Path(LINKS) / "serve.json"


def write_last_deployed(weights: WeightsRef, *, path: Path = PATH) -> None:
    """Record the weights that Serve is given. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_message(path, weights.model_dump_json())


def read_last_deployed(*, path: Path = PATH) -> WeightsRef | None:
    """Return the recorded weights; None where none were recorded."""
    text = read_message(path)
    try:
        return None if text is None else WeightsRef.model_validate_json(text)
    except ValidationError:
        return None
