"""Whether a stage can read the files that its engine will load."""

from pathlib import Path

from llama_serving.cell.supervisor.weights_check import ACCEPTED_SECONDS, REFUSED_SECONDS, WeightsCheck
from llama_serving.config.reasons import CellReason
from tests.unit.cell.fakes import FakeClock
from tests.unit.weights.model.folders import make_model


async def test_weights_at_fault_are_named_with_their_reason(tmp_path: Path) -> None:
    fault = await WeightsCheck(lambda: tmp_path / "none", clock=FakeClock()).fault()
    assert fault is not None
    assert fault.reason is CellReason.WEIGHTS_MISSING
    assert "none" in fault.message


async def test_a_repair_is_seen_after_a_few_seconds_and_not_looked_for_all_the_time(tmp_path: Path) -> None:
    clock = FakeClock()
    check = WeightsCheck(lambda: tmp_path / "model", clock=clock)
    assert await check.fault()
    make_model(tmp_path / "model")
    assert await check.fault(), "an answer is good for a while"
    clock.now += REFUSED_SECONDS
    assert await check.fault() is None
    (tmp_path / "model" / "config.json").unlink()
    assert await check.fault() is None
    clock.now += ACCEPTED_SECONDS
    assert await check.fault()


def test_a_written_file_changes_the_fingerprint(tmp_path: Path) -> None:
    check = WeightsCheck(lambda: tmp_path, clock=FakeClock())
    empty = check.fingerprint()
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    first = check.fingerprint()
    (tmp_path / "config.json").write_text("{ }", encoding="utf-8")
    assert len({repr(print_) for print_ in (empty, first, check.fingerprint())}) == 3
    assert WeightsCheck(lambda: tmp_path / "none", clock=FakeClock()).fingerprint() is not None
