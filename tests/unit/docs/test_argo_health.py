"""The health check for Argo CD that the page gives: run by Lua over every reason of the catalogue."""

from pathlib import Path
from typing import Any, Final

import pytest
from lupa.lua51 import LuaRuntime  # the version of Lua that Argo CD's interpreter speaks

from llama_operator.plan.reasons import Explanation
from llama_serving.config.reasons import Reason
from tests.fakes.every_reason import Case, cases, deployment_with
from tests.unit.docs.pages import Page

HEALTH: Final = {"Current": "Healthy", "InProgress": "Progressing", "Failed": "Degraded"}


@pytest.fixture(scope="module")
def script() -> str:
    (found,) = [block.text for block in Page(Path("docs/how-to/gitops.md")).blocks if block.language == "lua"]
    return found


def health(script: str, body: dict[str, Any]) -> tuple[str, str]:
    """Status and message, as Argo CD runs the script: the object is the global ``obj``."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals()["obj"] = lua.table_from(body, recursive=True)
    found = lua.execute(script)
    return str(found["status"]), str(found["message"])


@pytest.mark.parametrize("case", [one for one in cases() if one.expect != "Terminating"], ids=lambda case: case.name)
def test_the_health_is_what_the_severity_means(script: str, case: Case) -> None:
    status, message = health(script, case.body)
    paused = "RolloutPaused" in case.name
    assert status == ("Suspended" if paused else HEALTH[case.expect])
    assert message


def test_the_message_is_the_first_thing_to_look_at(script: str) -> None:
    status = deployment_with(Explanation(Reason.DISK_FULL, "9 bytes are needed, 1 are free")).to_api()
    body = {"metadata": {"generation": 1}, "status": status}
    assert health(script, body) == ("Degraded", "DiskFull: 9 bytes are needed, 1 are free")


@pytest.mark.parametrize("body", [{}, {"status": {}}, {"status": {"observedGeneration": 1, "conditions": []}}])
def test_an_object_without_a_status_is_on_its_way(script: str, body: dict[str, Any]) -> None:
    assert health(script, {"metadata": {"generation": 1}, **body})[0] == "Progressing"
