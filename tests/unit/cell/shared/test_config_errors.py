"""Only a value that the engine refuses is the model's fault; whatever else ends its configuration is tried again."""

import pytest

from llama_serving.cell.shared.config_errors import ConfigRefusedError, naming_refusals


def configure(cause: Exception) -> None:
    """As Ray Serve LLM does: every error becomes one kind, without its cause."""
    try:
        raise cause
    except Exception as error:
        raise RuntimeError(f"Failed to create vLLM engine config: {error}") from None


def test_a_value_that_is_refused_is_named() -> None:
    with pytest.raises(ConfigRefusedError, match="the engine refuses: 9 heads over 2 devices"), naming_refusals():
        configure(ValueError("9 heads over 2 devices"))


@pytest.mark.parametrize(
    "cause", [RuntimeError("Failed to infer device type"), OSError("no such file"), AssertionError("device")]
)
def test_what_is_not_about_a_value_keeps_its_name(cause: Exception) -> None:
    with pytest.raises(RuntimeError, match="Failed to create"), naming_refusals():
        configure(cause)


def test_an_error_of_another_step_is_left_alone() -> None:
    def load() -> None:
        try:
            raise ValueError("a tensor is missing")
        except ValueError as error:
            raise RuntimeError("the engine core failed") from error

    with pytest.raises(RuntimeError, match="the engine core failed"), naming_refusals():
        load()
