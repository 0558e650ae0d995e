"""The key of compiled code does not depend on where the weights lie.

vLLM 0.32 finds compiled graphs and measured memory by a hash of its whole configuration, and the path of the model is
in it. Ours names the digest, so after every upgrade of the weights the next start would compile anew what was there.
The graphs take the weights as inputs, and the sizes of the model are in the hash themselves.

Importing this module imports vLLM; a rank does so when it is given the configuration.
"""

from typing import Any, Final

from vllm.config import ModelConfig

#: In place of the path.
MODEL: Final = "/model"


class PathlessModelConfig(ModelConfig):  # type: ignore[misc]
    """vLLM's config of the model, with a hash that is the same wherever the model lies."""

    def compute_hash(self) -> str:
        """Return the hash of everything that changes the graph but the path."""
        path = self.model  # type: ignore[has-type]
        try:
            self.model = MODEL
            return str(super().compute_hash())
        finally:
            self.model = path


def forget_path(engine: Any) -> None:
    """Let an engine of Ray Serve LLM that has not started yet configure vLLM this way."""
    stock = engine._prepare_engine_config  # noqa: SLF001  # there is no public place between making and use

    def prepare(*arguments: Any) -> Any:
        made = stock(*arguments)
        made[-1].model_config.__class__ = PathlessModelConfig
        return made

    engine._prepare_engine_config = prepare  # noqa: SLF001
