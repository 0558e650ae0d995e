"""Which LlamaWeights a deployment uses: any of the namespace with the same content, whoever made it.

One that a user made first has a name of its own. A ready one is taken before one that is still looked at, a user's
before ours, so that what was checked once is not read again.
"""

from collections.abc import Mapping

from llama_operator.api import ModelSpec, content_of
from llama_operator.observe.deployment import WeightsView


def weights_of(known: Mapping[str, WeightsView], model: ModelSpec) -> WeightsView | None:
    """The weights of this model; None while nobody has made them."""
    wanted = content_of(model)
    found = (view for view in known.values() if view.content == wanted)
    return min(found, key=lambda view: (not view.ready, view.ours, view.name), default=None)
