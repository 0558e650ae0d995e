"""The extension of vLLM's worker (``worker_extension_cls``) on GPU and CPU: each rank reports itself and reloads."""

import os
import socket
from pathlib import Path
from typing import Any

from llama_serving.cell.rank.step_count import count_calls
from llama_serving.cell.shared.heartbeat import HeartbeatWriter
from llama_serving.cell.shared.verified_links import verified_digest


class WorkerExtension:
    """Methods of each rank, called through ``collective_rpc``."""

    rank: int
    model_runner: Any
    vllm_config: Any
    _heartbeat: HeartbeatWriter | None = None

    def start_heartbeat(self) -> None:
        """Count calls in shared memory from now on. Calling it twice is harmless."""
        if self._heartbeat is None:
            self._heartbeat = HeartbeatWriter(self.rank)
            count_calls(self, self._heartbeat)

    def rank_report(self) -> dict[str, Any]:
        """Return rank, process, the layers ``[first, end)`` that it holds, and the digest of their weights."""
        return self._report(digest=verified_digest(Path(self.vllm_config.model_config.model)))

    def reload_rank(self, path: str) -> dict[str, Any]:
        """Load the weights at ``path`` in place of those that this rank holds.

        Never raises: vLLM 0.32 leaves the answers of the other ranks in their queues when one rank raises, and takes
        them for the answers to its next call.
        """
        try:
            digest = verified_digest(Path(path))
            read = self._load(path)
            if verified_digest(Path(path)) != digest:
                raise ValueError(f"{path} was replaced while it was read")
        except Exception as error:
            return self._report(error=f"{type(error).__name__}: {error}"[:600])
        return self._report(digest=digest, bytes=read)

    def load_adapter(self, *, name: str, number: int, path: str, digest: str) -> dict[str, Any]:
        """Load a LoRA adapter. Never raises, for the same reason."""
        from llama_serving.cell.rank import adapters  # imports vLLM

        try:
            adapters.load_adapter(self, name=name, number=number, path=path, digest=digest)
        except Exception as error:
            return self._report(error=f"{type(error).__name__}: {error}"[:600])
        return self._report(digest=digest)

    def unload_adapter(self, number: int) -> dict[str, Any]:
        """Forget a LoRA adapter. Never raises, for the same reason."""
        from llama_serving.cell.rank import adapters

        try:
            adapters.unload_adapter(self, number)
        except Exception as error:
            return self._report(error=f"{type(error).__name__}: {error}"[:600])
        return self._report()

    def _load(self, path: str) -> int:
        from llama_serving.cell.rank.reload import reload_weights  # imports torch, which a supervisor does not have

        return reload_weights(self, path)

    def _report(self, **more: Any) -> dict[str, Any]:
        inner = self.model_runner.get_model().model
        return {
            "rank": self.rank,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "layers": [int(inner.start_layer), int(inner.end_layer)],
            **more,
        }
