"""One API server for all contract tests of a run; a namespace of its own for each test that asks for one."""

import secrets
from collections.abc import Iterator

import pytest

from tests.contract.apiserver import ApiServer, control_plane


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    with control_plane() as server:
        yield server


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A fresh namespace. It goes with the API server: without a controller manager it could not be deleted."""
    name = f"test-{secrets.token_hex(4)}"
    apiserver.run("create", "namespace", name)
    return name
