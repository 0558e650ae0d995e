"""The benchmark for a GPU, dry: on the CPU it loads, reloads and compares, and finds a rank that is wrong."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.serving

torch = pytest.importorskip("torch", reason="needs the serving environment")


@pytest.mark.parametrize("share", [(1, 0), (2, 1), (4, 3)], ids=str)
def test_a_dry_run_finds_nothing_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: tuple[int, int]
) -> None:
    from benchmarks.gpu.reload import main

    tensor, rank = share
    cut = ["--layers", "2", "--tensor", str(tensor), "--rank", str(rank)]
    assert main(["--size", "tiny", "--device", "cpu", "--rounds", "1", "--folder", str(tmp_path), *cut]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines if line.get("right")] == ["load", "reload", "bit for bit"]
    assert lines[-1] == {"step": "end", "failed": []}
    assert list(tmp_path.iterdir()) == []


def test_another_share_of_the_files_is_found(tmp_path: Path) -> None:
    from benchmarks.gpu.tensor_rank import SIZES, TensorRank

    ranks = [TensorRank(SIZES["tiny"], 1, 2, number, torch.device("cpu")) for number in range(2)]
    ranks[0].write(tmp_path / "model", seed=1)
    for rank in ranks:
        rank.reload(tmp_path / "model")
        assert rank.differences(tmp_path / "model") == []
    for name, own in ranks[1].parameters.items():
        own.copy_(ranks[0].parameters[name])
    wrong = ranks[1].differences(tmp_path / "model")
    assert sorted(name.rpartition(".")[0].rpartition(".")[2] for name in wrong) == [
        "down_proj", "embed_tokens", "gate_up_proj", "lm_head", "o_proj", "qkv_proj",
    ]  # fmt: skip
