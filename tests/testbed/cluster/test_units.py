"""What `up` decides to stop and to start, for every state that a crash can leave."""

from testbed.cluster.units import changes, main_processes
from tests.testbed.cluster.worlds import process, unit

ETCD, API = unit("etcd"), unit("kube-apiserver")
NODE = unit("node-1/pause")
RUNTIME, KUBELET = unit("node-1/containerd", inside="node-1/pause"), unit("node-1/kubelet", inside="node-1/pause")
ALL = (ETCD, API, NODE, RUNTIME, KUBELET)


def running(*units: object) -> tuple:  # type: ignore[type-arg]
    return tuple(process(one, pid=10 + i) for i, one in enumerate(units))  # type: ignore[arg-type]


def names(units: object) -> list[str]:
    return [one.name for one in units]  # type: ignore[attr-defined]


def test_nothing_runs_everything_is_started_in_order() -> None:
    assert names(changes(ALL, ()).start) == names(ALL)


def test_everything_runs_nothing_is_done() -> None:
    todo = changes(ALL, running(*ALL))
    assert (todo.stop, todo.start) == ((), ())


def test_only_what_died_is_started() -> None:
    todo = changes(ALL, running(ETCD, NODE, RUNTIME, KUBELET))
    assert names(todo.start) == ["kube-apiserver"]
    assert todo.stop == ()


def test_changed_arguments_restart_the_process() -> None:
    old = process(API, digest="of-yesterday")
    todo = changes((ETCD, API), (*running(ETCD), old))
    assert todo.stop == (old,)
    assert names(todo.start) == ["kube-apiserver"]


def test_changed_configuration_changes_the_digest() -> None:
    assert unit("a", depends=("x",)).digest != unit("a", depends=("y",)).digest
    assert unit("a", argv=("p", "q r")).digest != unit("a", argv=("p", "q", "r")).digest


def test_a_node_that_lost_its_first_process_is_started_whole() -> None:
    # Its other processes may still be seen for a moment while the kernel ends them.
    survivors = running(ETCD, API, KUBELET)
    todo = changes(ALL, survivors)
    assert names(todo.start) == ["node-1/pause", "node-1/containerd", "node-1/kubelet"]
    assert [p.unit for p in todo.stop] == ["node-1/kubelet"]


def test_processes_of_units_that_are_no_longer_wanted_are_stopped() -> None:
    todo = changes((ETCD,), running(*ALL))
    assert {p.unit for p in todo.stop} == {"kube-apiserver", "node-1/pause", "node-1/containerd", "node-1/kubelet"}


def test_children_that_inherit_the_mark_are_not_taken_for_the_unit() -> None:
    shim = process(RUNTIME, pid=7, program="containerd-shim-runc-v2", started=200)
    fork = process(RUNTIME, pid=8, started=300)  # not yet become the program that it is to run
    own = process(RUNTIME, pid=9, started=100)
    assert main_processes([RUNTIME], [shim, fork, own]) == {RUNTIME.name: own}
    assert names(changes((RUNTIME,), (shim,)).start) == [RUNTIME.name]


def test_shims_survive_a_restart_of_their_containerd() -> None:
    shim = process(RUNTIME, pid=7, program="containerd-shim-runc-v2")
    assert changes((NODE, RUNTIME), (*running(NODE), shim)).stop == ()
