"""Servers for all tests of a run, and the model behind the scheme that a test asks for."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from testbed.cache import binaries
from testbed.errors import BedError
from tests.contract.conftest import apiserver, namespace
from tests.weights import models, servers
from tests.weights.places import SCHEMES, Place, Servers

__all__ = ["apiserver", "namespace"]  # the contract tests' fixtures, for the one test that needs an API server


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the programs before the first test, with progress: a test's deadline is no measure of a compiler."""
    wanted = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    programs = {"apiserver": binaries.CONTROL_PLANE, "running": binaries.SOURCES}
    if not session.config.option.collectonly:
        with contextlib.suppress(BedError):  # the fixture that needs them says why
            binaries.ensure(name for fixture, names in programs.items() if fixture in wanted for name in names)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """An S3 server, a GCS server and a registry."""
    with (
        servers.s3(tmp_path_factory.mktemp("s3")) as s3,
        servers.gcs(tmp_path_factory.mktemp("gcs")) as gcs,
        servers.registry(tmp_path_factory.mktemp("registry")) as registry,
    ):
        yield Servers(s3=s3, gcs=gcs, registry=registry)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a whole Llama of 4 MiB."""
    return models.make_model(tmp_path / "model")


@pytest.fixture(params=SCHEMES)
async def place(
    request: pytest.FixtureRequest, *, tmp_path: Path, model: Path, running: Servers
) -> AsyncIterator[Place]:
    """The model at each scheme in turn."""
    async with SCHEMES[request.param](model, tmp_path, running) as made:
        yield made
        await made.close()
