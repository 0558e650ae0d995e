"""The calls that vLLM makes of a worker are counted, in the object itself."""

from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.rank.step_count import CALLS, count_calls
from llama_serving.cell.shared.heartbeat import HeartbeatWriter, read_heartbeats


class Worker:
    """What vLLM calls; ``seen`` is the heartbeat inside of each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[tuple[int, int, int, str]] = []

    def beat(self) -> tuple[int, int, int, str]:
        one = read_heartbeats(self.folder)[1]
        return one.step, one.begun, one.ended, one.doing

    def execute_model(self, plan: str, *, fails: bool = False) -> str:
        self.seen.append(self.beat())
        if fails:
            raise ValueError(plan)
        return f"did {plan}"

    def reload_rank(self, path: str) -> dict[str, Any]:
        self.seen.append(self.beat())
        return {"path": path}


def test_calls_are_counted_with_their_arguments_and_answers(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    count_calls(worker, HeartbeatWriter(1, folder=tmp_path))
    assert worker.execute_model("one") == "did one"
    with pytest.raises(ValueError, match="two"):
        worker.execute_model("two", fails=True)
    assert worker.reload_rank(path="w") == {"path": "w"}
    assert worker.seen == [(1, 1, 0, "execute_model"), (2, 2, 1, "execute_model"), (2, 3, 2, "reload_rank")]
    assert worker.beat() == (2, 3, 3, "reload_rank")
    assert not hasattr(worker, "sample_tokens"), "what the worker lacks is not invented"


def test_the_extension_itself_has_what_it_counts() -> None:
    from llama_serving.cell.rank.worker_extension import WorkerExtension

    assert [call for call in CALLS if hasattr(WorkerExtension, call)] == ["reload_rank", "load_adapter"]
