"""An adapter that the spec of a deployment names, as far as it is known."""

from dataclasses import dataclass

from llama_serving.config.desired import WantedAdapter


@dataclass(frozen=True)
class SpecAdapter:
    """One name of the OpenAI API and what it is to mean.

    ``wanted``: None while it is not resolved, or where it is refused. ``former``: what the name meant before, as long
    as it is known: groups keep it until it is their turn to change. ``refused``: why no group can serve it, a clause.
    """

    name: str
    wanted: WantedAdapter | None
    former: WantedAdapter | None = None
    refused: str = ""
