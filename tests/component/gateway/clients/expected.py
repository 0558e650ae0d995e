"""What the programs ``tools_*`` must get of any engine that does what it is asked for, whatever its model says."""

from typing import Any, Final

from tests.component.gateway.clients.cases import CITY_VALUE

CALL: Final = ["add", {"a": 17, "b": 25}]

#: By client: what the grammar leaves no choice about.
EXPECTED: Final[dict[str, dict[str, Any]]] = {
    "openai": {
        "tool": CALL,
        "tool_stream": CALL,
        "parsed": CITY_VALUE,
        "parsed_stream": CITY_VALUE,
        "response_parsed": CITY_VALUE,
        "response_tool": CALL,
        "stored": [400, "not_supported", "previous_response_id"],
        "embedded": [404, "not_supported", None],
    },
    "litellm": {"tool": CALL, "tool_stream": CALL, "parsed": CITY_VALUE, "embedded": 404},
    "langchain": {"parsed": CITY_VALUE, "tool_stream": CALL},
    "instructor": {"tool": CITY_VALUE, "parsed": CITY_VALUE},
}
#: By client: the steps whose text is the model's own.
TEXTS: Final = {"openai": ("answered", "response", "response_stream")}
AGENT: Final = {"called": [[17, 25]], "results": ["42"]}


def check(client: str, got: dict[str, Any]) -> None:
    """Compare what a program printed with what it must have got."""
    for step, value in EXPECTED[client].items():
        assert got[step] == value, (client, step, got)
    for step in TEXTS.get(client, ()):
        assert isinstance(got[step], str), (client, step, got)
    if client == "langchain":
        assert isinstance(got["agent"].pop("answer"), str)
        assert got["agent"] == AGENT
    assert got["version"]
