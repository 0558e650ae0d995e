"""Users' clients against a model with tools: calls, schemas and responses, each client with its version.

The same programs run against the gateway alone in ``tests/component/gateway/clients``. The tiny model says anything, so
only what a grammar forces is compared. It has no chat template with tools; the deployment brings one.
"""

from collections.abc import Iterator

import pytest

from tests.component.gateway.clients.environment import HERE, python, run
from tests.component.gateway.clients.expected import EXPECTED, check
from tests.component.gateway.clients.test_client_matrix import CHECKED, result
from tests.e2e.support.bed import NAMESPACE, Bed, Object, manifest
from tests.soak import soak
from tests.unit.config.chat.templates import HERMES

pytestmark = soak

NAME = "with-tools"
TEMPLATE: Object = {
    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tools-template", "namespace": NAMESPACE},
    "data": {"chat_template.jinja": HERMES},
}  # fmt: skip


@pytest.fixture(scope="module")
def url(bed: Bed) -> Iterator[str]:
    """URL of a group of two stages that reads tool calls."""
    asked = manifest(NAME, replicas=1, contextLength=2048)
    asked["spec"]["model"]["chatTemplate"] = {"configMap": "tools-template"}
    bed.kubectl.apply(TEMPLATE, asked)
    bed.wait_serving(NAME, 1)
    assert bed.deployment(NAME)["status"]["model"]["chat"]["tools"] == "hermes"
    yield f"{bed.service_url(NAME)}/v1"
    bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=120s")


@pytest.mark.parametrize("client", EXPECTED)
async def test_a_client_gets_calls_and_objects(url: str, client: str) -> None:
    got = result(await run(python(client), HERE / f"tools_{client}.py", url, NAME, **CHECKED))
    print(f"{client} {got['version']}", flush=True)
    check(client, got)
