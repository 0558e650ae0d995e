"""Users' clients against the two groups: tools, schemas and responses, each client with its version.

The same programs run against the gateway alone in ``tests/component/gateway/clients``. The tiny model says anything, so
only what a grammar forces is compared.
"""

import pytest

from tests.component.gateway.clients.environment import HERE, python, run
from tests.component.gateway.clients.expected import EXPECTED, check
from tests.component.gateway.clients.test_client_matrix import CHECKED, result
from tests.e2e.support.bed import Bed


@pytest.mark.parametrize("client", EXPECTED)
async def test_a_client_gets_calls_and_objects(bed: Bed, pair: str, client: str) -> None:
    interpreter = python(client)
    got = result(await run(interpreter, HERE / f"tools_{client}.py", f"{bed.service_url(pair)}/v1", pair, **CHECKED))
    print(f"{client} {got['version']}", flush=True)
    check(client, got)
