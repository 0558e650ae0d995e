"""What is refused of LoRA adapters, at ``kubectl apply``: of a LlamaAdapter, and of a deployment that serves some."""

from typing import Any, Final

from tests.contract.crd.bad_inputs import VALID, BadInput, Object

VALID_ADAPTER: Final[Object] = {
    "apiVersion": "llama-operator.dev/v1alpha1",
    "kind": "LlamaAdapter",
    "metadata": {"name": "support-sql"},
    "spec": VALID["spec"]["model"],
}
_ONE: Final = {"name": "sql", "adapter": "support-sql"}


def _adapter(name: str, expect: str, *, before: Object | None = None, **fields: Any) -> BadInput:
    earlier = None if before is None else {"spec": before}
    return BadInput(f"adapter: {name}", {"spec": fields}, expect, earlier, VALID_ADAPTER)


def _serves(name: str, expect: str, **fields: Any) -> BadInput:
    return BadInput(f"adapters: {name}", {"spec": fields}, expect)


def _named(name: str, value: str, expect: str) -> BadInput:
    return BadInput(f"adapter: {name}", {"metadata": {"name": value}}, expect, None, VALID_ADAPTER)


BAD_ADAPTERS: Final = (
    _named("name with a dot", "a.b", "metadata.name of an adapter must begin with a letter"),
    _named("name too long for a Job", "n" * 55, "metadata.name must have at most 54"),
    _adapter("no source", "spec.source: Required value", source=None),
    _adapter("license not accepted", "acceptLicense must be true", acceptLicense=False),
    _adapter("moving revision of a claim", "revision may only be a moving name", revision="main"),
    _adapter("source of an unknown scheme", "source must start with a known scheme", source="ftp://host/a"),
    _adapter("another source", "cannot change, because it names the adapter", before={}, source="pvc://models/other"),
    _adapter("another revision", "make another LlamaAdapter", before={}, revision="v2"),
    _adapter("another digest", "digest cannot change", before={}, digest=f"sha256:{'a' * 64}"),
    _adapter("golden prompt that asks nothing", "must have something to compare", goldenPrompts=[{"prompt": "a"}]),
    _adapter("many golden prompts", "must have at most 16 items", goldenPrompts=[{"prompt": "a", "expect": "b"}] * 17),
    _serves("name of the model", "must differ from the model's own name", adapters=[_ONE], model={"servedName": "sql"}),
    _serves("two of one name", "Duplicate value", adapters=[_ONE, {**_ONE, "adapter": "other"}]),
    _serves("name with a space", "adapters[].name must be made of", adapters=[{**_ONE, "name": "a b"}]),
    _serves("name of no object", "must be the name of a LlamaAdapter", adapters=[{**_ONE, "adapter": "A"}]),
    _serves("no name", "adapters[0].name: Required value", adapters=[{"adapter": "a"}]),
    _serves("selector of everything", "must name at least one label", adapterSelector={}),
    _serves("label of no name", "must have label names as keys", adapterSelector={"matchLabels": {"a b": "c"}}),
    _serves("label of no value", "must have label values", adapterSelector={"matchLabels": {"a": "b c"}}),
    _serves("no slots", "should be greater than or equal to 1", adapterLimits={"slots": 0}),
    _serves("more slots than held", "must not be less than adapterLimits.slots", adapterLimits={"slots": 4, "held": 2}),
    _serves("rank that no engine has", "Unsupported value: 48", adapterLimits={"maxRank": 48}),
)
