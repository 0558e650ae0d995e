"""Who may ask a cell what: the engine's key, and every port that listens, compared with the threat model's table."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from llama_serving.config import names
from llama_serving.config.walls.listening import LISTENING, BoundTo, ListeningPort
from tests.serving.cells import Cell, cell_config, running_cell
from tests.serving.pods import Pod, eventually

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(420), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

KEY = "0123abcd" * 8
START = 180
LISTENS = "0A"  # of /proc/net/tcp


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A cell that serves and asks for the engine's key."""
    from testbed.models.tiny import make

    models, folder = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("cell")
    make(models / "one", seed=1)
    (folder / "engine-key").write_text(KEY)
    with running_cell(cell_config(model="one"), models=models, folder=folder) as running:
        running.stages("one")
        eventually(lambda: running.ready() and running.ready(1), within=START, what="serving", tail=running.logs)
        yield running


def status(cell: Cell, path: str, **headers: str) -> int:
    url = f"http://{cell.leader.ip}:{names.PORT_ENGINE}{path}"
    request = urllib.request.Request(url, headers={key.replace("_", "-"): value for key, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_engine_answers_only_who_has_the_key(cell: Cell) -> None:
    """That it serves at all shows that its supervisor, which measured it, has the key."""
    for path in ("/v1/models", names.ROUTE_STATE, "/metrics", "/health", "/docs", "/none"):
        assert status(cell, path) == 401
        assert status(cell, path, x_llama_engine_key=KEY[:-1]) == 401
    for path in ("/v1/models", names.ROUTE_STATE):
        assert status(cell, path, x_llama_engine_key=KEY) == 200


def test_every_port_that_listens_is_in_the_table(cell: Cell) -> None:
    for kind, pod in (("leader", cell.leader), ("worker", cell.worker)):
        found = listeners(pod)
        rows = [row for row in LISTENING if kind in row.pods]
        unknown = [one for one in found if not any(matches(row, one) for row in rows)]
        assert unknown == [], f"{kind} listens on what no row says: {unknown}"
        absent = [row for row in rows if row.port and not any(matches(row, one) for one in found)]
        assert absent == [], f"{kind} does not listen on {absent}"


Listener = tuple[int, BoundTo, str]


def matches(row: ListeningPort, one: Listener) -> bool:
    port, bound, process = one
    right = port == row.port if row.port else port not in {other.port for other in LISTENING}
    return right and bound is row.bound and row.process in process


def listeners(pod: Pod) -> list[Listener]:
    """Ports of a pod, the addresses that they are bound to, and the command line of their process."""
    assert pod.sandbox is not None
    inside = str(Path(f"/proc/{pod.sandbox.pid}/ns/net").readlink())
    owners: dict[str, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or network_of(entry) != inside:
            continue
        for link in links(entry / "fd"):
            owners.setdefault(link, (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pod.sandbox.pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS:
                address, _, port = fields[1].rpartition(":")
                owner = owners.get(f"socket:[{fields[9]}]", "")
                found.append((int(port, 16), bound_to(address), owner))
    return sorted(found)


def network_of(entry: Path) -> str:
    try:
        return str((entry / "ns" / "net").readlink())
    except OSError:
        return ""


def links(folder: Path) -> list[str]:
    found = []
    with contextlib.suppress(OSError):  # ended, or closed, meanwhile
        for one in folder.iterdir():
            found.append(str(one.readlink()))
    return found


def bound_to(text: str) -> BoundTo:
    """Read an address of /proc/net/tcp: words of 32 bits, each with its bytes backwards."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    address = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
    plain = address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
    if plain.is_unspecified:
        return BoundTo.ALL
    return BoundTo.LOOPBACK if plain.is_loopback else BoundTo.POD
