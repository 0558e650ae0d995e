"""The project's verdict on every folder of the corpus, as a source on the network gives it to the resolver."""

from pathlib import Path

import pytest

from llama_serving.config.reasons import CellReason
from llama_serving.weights.source.local import LocalSource
from tests.weights.corpus.derivatives import BESIDE, CORPUS
from tests.weights.corpus.folders import Derivative, build
from tests.weights.corpus.resolving import RemoteFolder, look


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    assert len({case.name for case in CORPUS}) == len(CORPUS) >= 60


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
async def test_the_verdict(tmp_path: Path, case: Derivative) -> None:
    resolution = await look(RemoteFolder(build(case, tmp_path / "model")))
    report = resolution.report
    if not case.served:
        assert report.outcome == "refused", report.message
        assert case.says in report.message
        assert report.message.isprintable()
        return
    assert report.outcome == "accepted", report.message
    assert report.facts is not None
    assert (report.facts.max_context, report.facts.quantization) == (case.context, case.quantization)
    assert resolution.manifest is not None
    served = {file.path for file in resolution.manifest.files}
    assert not served.intersection(case.beside) - {"hf_quant_config.json", *READ_BY_THE_ENGINE}


READ_BY_THE_ENGINE = ("sentence_bert_config.json", "trainer_state.json", "generation_config.json")


@pytest.mark.parametrize("case", [case for case in BESIDE if not case.index], ids=lambda case: case.name)
async def test_what_lies_beside_in_a_folder_that_the_engine_reads_in_place(tmp_path: Path, case: Derivative) -> None:
    """Nothing can be left out there: what the engine would load too is refused, and everything else passed over."""
    report = (await look(LocalSource(build(case, tmp_path / "model"), revision="v1"))).report
    read_too = [name for name in case.beside if name.endswith(".safetensors")]
    assert report.outcome == ("refused" if read_too else "accepted")
    if read_too:
        assert report.reason == CellReason.MODEL_REFUSED
        assert min(read_too) in report.message
        assert ("a LoRA adapter" in report.message) is all("adapter" in name or "lora" in name for name in read_too)
