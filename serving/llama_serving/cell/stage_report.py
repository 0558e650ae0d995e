"""What each rank of the engine says of itself; mixed into vLLM's worker (``worker_extension_cls``) on GPU and CPU."""

import os
import socket
from typing import Any


class StageReport:
    """Extension of a vLLM worker, called through ``collective_rpc("stage_report")``."""

    rank: int
    model_runner: Any

    def stage_report(self) -> dict[str, Any]:
        """Rank, process and the layers ``[first, last + 1]`` that it holds."""
        inner = self.model_runner.get_model().model
        return {
            "rank": self.rank,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "layers": [int(inner.start_layer), int(inner.end_layer)],
        }
