"""From pydantic's JSON schema to a structural schema, the dialect that a CRD must be written in.

References are resolved, "or null" is dropped (absent is the API's null), titles go, and the default of a section is
made from the defaults of its fields: the API server checks a default against the section's rules as it stands.

Items of a list get no defaults. Clients compare lists as a whole (``kubectl apply``, Argo CD), so an item that the API
server fills in differs from the one that the user wrote, for ever. The models fill them in when the operator reads.
"""

from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

# What a structural schema may hold, in the order in which it is written.
_KEYWORDS: Final = (
    "description", "type", "format", "default", "enum", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "maxProperties", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "required", "properties", "items", "additionalProperties",
    "x-kubernetes-validations",
)  # fmt: skip
_DROPPED: Final = {"title"}


def structural_schema(model: type[BaseModel]) -> Schema:
    """Return the structural schema of a model.

    Raises:
        ValueError: the model uses something that a structural schema cannot say.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}), in_list=False)


def _structural(node: Schema, defs: dict[str, Schema], *, in_list: bool) -> Schema:
    node = _without_default(_inlined(node, defs)) if in_list else _inlined(node, defs)
    unknown = node.keys() - set(_KEYWORDS) - _DROPPED - {"$defs"}
    if unknown:
        raise ValueError(f"a structural schema has no {sorted(unknown)}: {node}")
    if "properties" in node:
        node["properties"] = {
            name: _structural(child, defs, in_list=in_list) for name, child in node["properties"].items()
        }
        if "default" in node:
            node["default"] = _defaults(node["properties"])
    for keyword in ("items", "additionalProperties"):
        if keyword in node:
            node[keyword] = _structural(node[keyword], defs, in_list=True)
    return {keyword: node[keyword] for keyword in _KEYWORDS if keyword in node}


def _without_default(node: Schema) -> Schema:
    """Return a field without its default, which its description then names unless it is empty."""
    default = node.pop("default", None)
    if default and "properties" not in node:
        node["description"] = f"{node['description']} If absent, {_shown(default)}."
    return node


def _shown(default: object) -> str:
    """Return a default as a reader of YAML would write it."""
    if isinstance(default, list):
        return ", ".join(_shown(one) for one in default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def _inlined(node: Schema, defs: dict[str, Schema]) -> Schema:
    """Return the node with its reference or its only non-null alternative merged in; what stands at the field wins."""
    node = dict(node)
    if node.get("default", ...) is None:
        del node["default"]
    alternatives = [item for item in node.pop("anyOf", ()) if item.get("type") != "null"]
    if len(alternatives) > 1:
        raise ValueError(f"a structural schema cannot choose between types: {alternatives}")
    for base in alternatives:
        node = {**_inlined(base, defs), **node}
    if reference := node.pop("$ref", None):
        node = {**_inlined(defs[reference.rsplit("/", 1)[-1]], defs), **node}
    return node


def _defaults(properties: dict[str, Schema]) -> Schema:
    return {name: child["default"] for name, child in properties.items() if "default" in child}
