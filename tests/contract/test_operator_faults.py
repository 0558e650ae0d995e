"""The operator as a process behind a proxy with faults, in front of the real API server."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama_operator.api import API_VERSION, KIND
from tests.contract.support.fault_proxy import FaultProxy
from tests.contract.support.operators import OperatorProcess, operator, until
from tests.contract.support.stand import ACCOUNT, Stand
from tests.fakes.api.faults import FAULTS
from tests.fakes.samples import CPU_SPEC

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(900)]

#: Seconds of each fault: enough for some turns of every path.
LONG_S = 6.0
#: Paths that are listed and watched, discovery, and the lease.
PATHS = 30


@pytest.fixture
def proxy(stand: Stand, tmp_path: Path) -> Iterator[FaultProxy]:
    with FaultProxy(stand.kubeconfig_of(ACCOUNT, tmp_path / "direct")).running() as found:
        yield found


def edited(stand: Stand, number: int) -> int:
    stand.change(KIND, "chat", {"spec": {"gateway": {"queueTimeoutSeconds": number}}})
    return int(stand.get(KIND, "chat")["metadata"]["generation"])


def observed(stand: Stand) -> int:
    status: dict[str, Any] = stand.get(KIND, "chat").get("status") or {}
    return int(status.get("observedGeneration", 0))


def test_no_fault_ends_it_and_none_makes_it_ask_without_a_pause(
    stand: Stand, proxy: FaultProxy, tmp_path: Path
) -> None:
    about = {"name": "chat", "namespace": stand.namespace}
    stand.create({"apiVersion": API_VERSION, "kind": KIND, "metadata": about, "spec": CPU_SPEC})
    with operator(proxy.kubeconfig(tmp_path / "kubeconfig"), stand.namespace, folder=tmp_path) as one:
        until(lambda: observed(stand) == 1, "the first pass", operators=(one,))
        for number, name in enumerate((name for name in FAULTS if name != "429 for ever"), start=400):
            proxy.set_fault(name)
            first = edited(stand, number)
            rate = endured(proxy, one, name)
            second = edited(stand, 1000 + number)
            proxy.set_fault("")
            took = until(lambda second=second: observed(stand) >= second, name, operators=(one,))  # type: ignore[misc]
            assert first < second
            print(f"{name:22} {rate:6.0f} requests in a minute; caught up after {took:.1f} s")
        one.end(signal.SIGTERM)
        assert one.process.wait(28) == 0


def endured(proxy: FaultProxy, one: OperatorProcess, name: str) -> float:
    """Let the fault last; return the requests in a minute."""
    until(lambda: time.monotonic() - proxy.since > LONG_S, name, operators=(one,))
    assert one.process.poll() is None, f"{name}: the process has ended:\n{one.log.read_text()[-3000:]}"
    seconds, asked = time.monotonic() - proxy.since, proxy.asked.total()
    assert asked < PATHS * 10 + 60 * seconds / 10, f"{name}: {asked} requests in {seconds:.0f} s"
    return 60 * asked / seconds


def test_it_ends_within_its_grace_while_the_api_server_hangs(stand: Stand, proxy: FaultProxy, tmp_path: Path) -> None:
    with operator(proxy.kubeconfig(tmp_path / "kubeconfig"), stand.namespace, folder=tmp_path) as one:
        until(lambda: one.serves(stand.namespace), "it serves", operators=(one,))
        proxy.set_fault("never answered")
        one.end(signal.SIGTERM)
        assert one.process.wait(28) == 0


def test_nothing_is_written_twice_while_watches_are_silent(stand: Stand, proxy: FaultProxy, tmp_path: Path) -> None:
    about = {"name": "chat", "namespace": stand.namespace}
    stand.create({"apiVersion": API_VERSION, "kind": KIND, "metadata": about, "spec": CPU_SPEC})
    with operator(proxy.kubeconfig(tmp_path / "kubeconfig"), stand.namespace, folder=tmp_path) as one:
        until(lambda: observed(stand) == 1, "the first pass", operators=(one,))
        quiet(proxy, one)
        proxy.set_fault("silent")
        edited(stand, 77)
        proxy.repeated.clear()
        until(lambda: time.monotonic() - proxy.since > 2 * LONG_S, "passes", operators=(one,))
        assert proxy.repeated == [], "what it wrote itself and does not see yet"


def quiet(proxy: FaultProxy, one: OperatorProcess) -> None:
    """Until nothing was written for three seconds."""
    seen, since = -1, time.monotonic()

    def still() -> bool:
        nonlocal seen, since
        if len(proxy.writes) != seen:
            seen, since = len(proxy.writes), time.monotonic()
        return time.monotonic() - since > 3

    until(still, "all is written", operators=(one,))
