"""One API server for all contract tests of a run; a namespace of its own for each test that asks for one."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest

from testbed.cache import binaries
from testbed.errors import BedError
from tests.contract.support.apiserver import ApiServer, client_of, control_plane
from tests.contract.support.benches import Bench, FakeBench, RealBench
from tests.contract.support.stand import Stand, give_rights


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the programs before the first test, with progress: a test's deadline is no measure of a compiler."""
    wanted = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    programs = {
        "apiserver": binaries.CONTROL_PLANE,
        "helm": ("helm",),
        "bare": ("helm",),
        "collector": ("kube-controller-manager",),
    }
    if not session.config.option.collectonly:
        with contextlib.suppress(BedError):  # the fixture that needs them says why
            binaries.ensure(name for fixture, names in programs.items() if fixture in wanted for name in names)


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    with control_plane() as server:
        yield server


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A fresh namespace."""
    return apiserver.fresh_namespace()


@pytest.fixture
async def real(request: pytest.FixtureRequest) -> AsyncIterator[RealBench]:
    apiserver = request.getfixturevalue("apiserver")
    async with await client_of(apiserver) as api:
        bench = RealBench(apiserver, request.getfixturevalue("namespace"), api)
        async with bench.cluster:
            yield bench


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.apiserver)])
def bench(request: pytest.FixtureRequest) -> Bench:
    found: Bench = FakeBench() if request.param == "fake" else request.getfixturevalue("real")
    return found


@pytest.fixture
def collector(apiserver: ApiServer) -> Iterator[None]:
    """Kubernetes' garbage collector, for one test: others play with owners that do not exist."""
    program = binaries.ensure(("kube-controller-manager",))["kube-controller-manager"]
    only = ("--controllers=garbage-collector-controller", "--leader-elect=false", "--secure-port=0")
    argv = [str(program), f"--kubeconfig={apiserver.kubeconfig}", *only]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield
        process.terminate()


@pytest.fixture
async def stand(apiserver: ApiServer, namespace: str) -> AsyncIterator[Stand]:
    """The operator's client with the chart's rights, in a namespace that enforces Pod Security."""
    user = give_rights(apiserver, namespace)
    async with await client_of(apiserver) as api:
        api.set_default_header("Impersonate-User", user)
        found = Stand(apiserver, namespace, api)
        async with found.cluster:
            yield found
