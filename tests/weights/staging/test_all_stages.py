"""From a source to the folders of all stages: every tensor is where it is needed, with the bytes that it had."""

from pathlib import Path

import pytest

from tests.fakes.staging import MemorySource, Pod, checkpoint, read_safetensors, until_outcome


@pytest.mark.parametrize("full", [True, False], ids=["full", "listing"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
async def test_all_stages_together_hold_the_checkpoint(tmp_path: Path, *, stages: int, tied: bool, full: bool) -> None:
    model = checkpoint(layers=7, tied=tied)
    item = model.item(full=full)
    union: dict[str, bytes] = {}
    for stage in range(stages):
        pod = Pod(tmp_path / str(stage), MemorySource(model.files), stage=stage, stages=stages)
        pod.configure(item)
        stager = pod.stager()
        staged = await until_outcome(stager, item, "ready")
        assert staged.bytes_done == staged.bytes_total
        union |= read_safetensors(pod.target(item))
        for name in ("config.json", "tokenizer.json"):
            assert (pod.target(item) / name).read_bytes() == model.files[name]
    assert union == model.tensors
