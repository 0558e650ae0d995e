"""The context of a model in every form of its config.json; the same table is given to the engine's own functions."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.reasons import CellReason
from llama_serving.weights.model.inspection import inspect
from tests.weights.corpus.contexts import REFUSED, TAKEN, scaled
from tests.weights.corpus.folders import Derivative, build


@pytest.mark.parametrize(("config", "context"), TAKEN.values(), ids=TAKEN.keys())
def test_the_context_that_follows(tmp_path: Path, config: dict[str, Any], context: int) -> None:
    report = inspect(build(Derivative("", config=config), tmp_path / "m"))
    assert report.facts is not None, report.message
    assert report.facts.max_context == context


@pytest.mark.parametrize(("config", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_forms_that_the_engine_refuses(tmp_path: Path, config: dict[str, Any], sentence: str) -> None:
    report = inspect(build(Derivative("", config=config), tmp_path / "m"))
    assert (report.outcome, report.reason) == ("refused", CellReason.MODEL_REFUSED)
    assert sentence in report.message


@given(factor=st.floats(0.01, 1000.0), positions=st.integers(1, 1 << 20))
def test_a_factor_lengthens_and_whole_tokens_remain(
    tmp_path_factory: pytest.TempPathFactory, factor: float, positions: int
) -> None:
    config = {**scaled(type="linear", factor=factor), "max_position_embeddings": positions}
    report = inspect(build(Derivative("", config=config), tmp_path_factory.mktemp("m") / "m"))
    if positions * factor < 1:
        assert report.reason == CellReason.MODEL_REFUSED
    else:
        assert report.facts is not None
        assert report.facts.max_context == int(positions * factor)
