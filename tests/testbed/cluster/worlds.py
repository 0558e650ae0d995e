"""Small worlds for the tests of the bed: a spec, folders, units and processes in one line each."""

from pathlib import Path

from testbed.cluster.controlplane import Folders
from testbed.cluster.spec import Ports, Spec
from testbed.cluster.units import Process, Unit

PLACE = Folders(base=Path("/bed"), etcd=Path("/mem/etcd"), bin=Path("/bed/bin"))


def spec(*, nodes: int = 2, slot: int = 3, kwok: int = 0, name: str = "here") -> Spec:
    return Spec(name=name, slot=slot, node_count=nodes, kwok_nodes=kwok, ports=Ports(6443, 2379, 2380, 9000))


def unit(name: str, *, argv: tuple[str, ...] = (), inside: str = "", depends: tuple[str, ...] = ()) -> Unit:
    return Unit(name=name, argv=argv or (f"/bin/{name.rsplit('/', 1)[-1]}",), inside=inside, depends=depends)


def process(of: Unit, *, pid: int = 10, digest: str = "", program: str = "", started: int = 100) -> Process:
    return Process(
        pid=pid,
        instance="here",
        unit=of.name,
        digest=digest or of.digest,
        program=program or of.program,
        started=started,
    )
