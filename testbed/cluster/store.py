"""What the bed keeps of an instance: its folders, its state file and its lock."""

import json
import os
import re
import secrets
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from testbed.cache.folder import cache, lock
from testbed.cluster import network
from testbed.cluster.spec import Ports, Spec, free_slot
from testbed.errors import BedError
from testbed.ports import free_ports

USERS: Final = ("admin", "controller-manager", "scheduler", "proxy", "dns", "kwok", "policies")


class State(BaseModel):
    """The state file of an instance: the choices that must stay the same while it lives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: Spec
    tokens: dict[str, str]

    def with_tokens(self) -> "State":
        """Return the state with a bearer token for every user and node that has none yet."""
        users = (*USERS, *(node.name for node in self.spec.nodes))
        return self.model_copy(update={"tokens": {user: secrets.token_hex(16) for user in users} | self.tokens})


def instance_dir(name: str) -> Path:
    """Return the folder that holds everything of an instance.

    Raises:
        BedError: the name is not a short DNS label.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", name):
        raise BedError(f"'{name}' cannot name an instance: use at most 20 of a-z, 0-9 and '-'")
    return cache() / "testbed" / name


def etcd_dir(name: str) -> Path:
    """Return the folder of etcd's data: in memory, because a test bed needs speed and no durability."""
    return Path("/dev/shm") / f"llama-testbed-{os.getuid()}-{name}"


def slot(name: str) -> int | None:
    """Return an instance's slot, whatever version wrote its state; None when there is no instance."""
    try:
        return int(json.loads((instance_dir(name) / "state.json").read_text())["spec"]["slot"])
    except FileNotFoundError:
        return None


def _taken_slots() -> set[int]:
    slots = (slot(path.parent.name) for path in (cache() / "testbed").glob("*/state.json"))
    return {one for one in slots if one is not None}


def load(name: str) -> State | None:
    """Read an instance's state; None when there is none.

    Raises:
        BedError: the file cannot be understood (an older version wrote it).
    """
    path = instance_dir(name) / "state.json"
    try:
        return State.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BedError(f"{path} is not a state file of this version: `python -m testbed down --name {name}`") from error


def save(state: State) -> None:
    """Write an instance's state, whole or not at all."""
    path = instance_dir(state.spec.name) / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(state.model_dump_json(indent=1))
    draft.chmod(0o600)
    draft.replace(path)


def create(name: str) -> State:
    """Choose slot and ports of a new instance and store them.

    Raises:
        BedError: no slot is free.
    """
    with lock(cache() / "testbed" / ".slots.lock"):
        chosen = free_slot(taken=_taken_slots(), routes=network.host_routes())
        if chosen is None:
            raise BedError("the host already uses all networks that the test bed knows: remove an instance with `down`")
        spec = Spec(name=name, slot=chosen, node_count=0, kwok_nodes=0, ports=Ports(*free_ports(4)))
        state = State(spec=spec, tokens={})
        save(state)
        return state


def instance_lock(name: str) -> Path:
    """Return the lock of an instance; it lies beside the instance's folder and so outlives `down`."""
    return instance_dir(name).with_name(f".{name}.lock")


def write_if_changed(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file only when its text differs, so that an `up` without changes touches nothing."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
