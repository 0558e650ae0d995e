"""What Serve was last told, in a file of the leader: a replica that Serve starts anew begins with it.

Serve gives a new replica the arguments of the app, which never change while it runs, and its ``user_config`` only
afterwards. Without the file it would load the weights of the start first and exchange them at once.
"""

import json
from pathlib import Path
from typing import Final

from llama_serving.cell.shared.verified_links import replace_text
from llama_serving.cell.shared.weights_ref import LINKS, Load, from_user_config

PATH: Final = Path(LINKS) / "serve.json"


def tell(load: Load, *, path: Path = PATH) -> None:
    """Write it down. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(load.user_config()))


def told(*, path: Path = PATH) -> Load | None:
    """What was written; None where nothing was."""
    try:
        return from_user_config(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, KeyError):
        return None
