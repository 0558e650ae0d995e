"""State files, locks and names of instances."""

import threading
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from testbed.cache import folder
from testbed.cluster import network, store
from testbed.errors import BedError


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder.cache() == tmp_path / "llama-operator"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert folder.cache() == Path("/home/somebody/.cache/llama-operator")


def test_state_survives_writing_and_reading() -> None:
    state = store.create("one").with_tokens()
    store.save(state)
    assert store.load("one") == state
    assert (store.instance_dir("one") / "state.json").stat().st_mode & 0o777 == 0o600


def test_instances_get_slots_and_ports_of_their_own() -> None:
    first, second = store.create("one").spec, store.create("two").spec
    assert first.slot != second.slot
    ports = [getattr(spec.ports, name) for spec in (first, second) for name in ("api", "etcd", "etcd_peer", "kwok")]
    assert len(set(ports[:4])) == 4
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports) < first_outgoing


def test_a_slot_of_a_removed_instance_is_free_again() -> None:
    slot = store.create("one").spec.slot
    (store.instance_dir("one") / "state.json").unlink()
    assert store.create("two").spec.slot == slot


def test_no_slot_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "host_routes", lambda: [IPv4Network("10.0.0.0/8")])
    with pytest.raises(BedError, match="already uses all networks"):
        store.create("one")


def test_tokens_stay_and_new_nodes_get_theirs() -> None:
    state = store.create("one").with_tokens()
    assert set(state.tokens) == set(store.USERS)
    grown = state.model_copy(update={"spec": state.spec.__class__(**{**state.spec.__dict__, "node_count": 1})})
    assert grown.with_tokens().tokens["admin"] == state.tokens["admin"]
    assert "node-1" in grown.with_tokens().tokens


def test_there_is_no_state_of_an_instance_that_is_not() -> None:
    assert store.load("one") is None
    assert store.slot("one") is None


def test_a_state_file_of_another_version_names_the_way_out_and_still_tells_the_slot() -> None:
    path = store.instance_dir("one") / "state.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"spec": {"slot": 5, "colour": "blue"}}')
    with pytest.raises(BedError, match="python -m testbed down --name one"):
        store.load("one")
    assert store.slot("one") == 5


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "-a", "a-", "x" * 21, "a b", "ä"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(BedError, match="cannot name an instance"):
        store.instance_dir(name)


def test_a_lock_is_held_until_it_is_left(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with folder.lock(tmp_path / "lock"):
            order.append("second")

    with folder.lock(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.1)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_a_file_with_the_same_text_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    store.write_if_changed(path, "a")
    before = path.stat().st_mtime_ns
    store.write_if_changed(path, "a")
    assert path.stat().st_mtime_ns == before
    store.write_if_changed(path, "b")
    assert path.read_text() == "b"
