"""Sentences about chat templates, parsers of tool calls and parsers of reasoning."""


def template_origin(config_map: str, key: str) -> str:
    return f"ConfigMap {config_map}, key {key}"


def template_denied(config_map: str, *, said: str) -> str:
    return f"the ConfigMap {config_map} (spec.model.chatTemplate) cannot be read: {said}; allow the operator to get it"


def template_size(config_map: str, *, key: str, size: int) -> str:
    where = f"{template_origin(config_map, key)} (spec.model.chatTemplate)"
    if not size:
        return f"{where} is empty; put the chat template there, or remove spec.model.chatTemplate"
    return f"{where} has {size} bytes, of a chat template at most 65536 are taken; shorten it"
