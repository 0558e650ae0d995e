"""Where the stagers of a group may send the credentials of ``model.credentialsSecret``: where a spec says so.

That is the source of every weights of the deployment, and the source of a LlamaAdapter that names the same Secret. An
adapter that names none is read without credentials, unless it lies where the model does.
"""

from collections.abc import Mapping

from llama_operator.observe.deployment import AdapterView
from llama_serving.config.desired import DesiredState
from llama_serving.config.source import fill, place


def credential_places(desired: DesiredState, *, secret: str, adapters: Mapping[str, AdapterView]) -> tuple[str, ...]:
    """Return the places, those of the weights first; none without a Secret. ``adapters``: views by name."""
    if not secret:
        return ()
    named = {fill(view.source, view.revision) for view in adapters.values() if view.credentials_secret == secret}
    weights = [item.source for item in desired.staged]
    beside = [item.source for item in desired.adapters if item.source in named]
    return tuple(dict.fromkeys(map(place, (*weights, *beside))))
