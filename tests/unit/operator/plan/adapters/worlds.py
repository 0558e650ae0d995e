"""Groups with LoRA adapters, as a pass sees them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from llama_operator.observe.deployment import AdapterView, Snapshot
from llama_operator.plan.adapters.seats import announced
from llama_operator.plan.adapters.steps import adapter_note, group_adapters
from llama_operator.plan.groups.state import PlanState
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.desired import WantedAdapter
from llama_serving.config.gateway import AdapterLoad, GatewayLoad, GroupLoad
from llama_serving.config.model import AdapterFacts
from llama_serving.config.state import AdapterProgress
from llama_serving.config.weights import Manifest
from tests.fakes.models import digest_of
from tests.unit.operator.worlds import NEW, cell, gateway_deployment, leader, state_of, worker, world

FACTS = AdapterFacts(rank=8, alpha=8, target_modules=(), layers=1, dtype="bfloat16", tensors=1, bytes=1)


@dataclass(frozen=True)
class Named:
    """A name of the spec; there is an object of each of its versions."""

    name: str
    version: int = 1
    refused: str = ""

    def objects(self) -> dict[str, AdapterView]:
        found = {f"{self.name}-{version}": view(self.name, version) for version in (1, 2, 3)}
        return found | {self.object: view(self.name, self.version, refused=self.refused)}

    @property
    def object(self) -> str:
        return f"{self.name}-{self.version}"


def id_of_adapter(name: str, version: int = 1) -> str:
    return f"r{version}@{name}{version}"


def view(name: str, version: int, *, refused: str = "") -> AdapterView:
    return AdapterView(
        name=f"{name}-{version}", served_name=name, labels={}, source=f"pvc://models/{name}", revision=f"r{version}",
        resolved="", credentials_secret="", service_account="", ready=not refused, digest=f"sha256:{name}{version}",
        facts=FACTS, manifest=Manifest(files=()), golden=(), reason="AdapterRefused" if refused else "Accepted",
        message=refused, refused=bool(refused),
    )  # fmt: skip


def version_of(wanted: WantedAdapter) -> int:
    return int(wanted.adapter.digest[-1])


def progress(name: str, version: int = 1, outcome: str = "ready", *, base: str = "v1") -> AdapterProgress:
    return AdapterProgress(
        name=name, digest=f"sha256:{name}{version}", outcome=outcome, base=digest_of(base) if outcome == "ready" else ""
    )


def room_file(ordinal: int, held: int) -> dict[str, Any]:
    """The ConfigMap of a group whose engine has room for so many adapters."""
    limits = {"adapters": AdapterLimits(slots=1, held=held, max_rank=8).model_dump()} if held else {}
    meta = {"name": f"chat-{NEW}-{ordinal}"}
    return {"kind": "ConfigMap", "metadata": meta, "data": {"cell.json": json.dumps(limits)}}


def load(ordinal: int, in_flight: Mapping[str, int], **traffic: AdapterLoad) -> GatewayLoad:
    group = GroupLoad(
        name=f"chat-{NEW}-{ordinal}-0", group=ordinal, weights="", ready=True, ejected=False,
        in_flight=sum(in_flight.values()), adapters=dict(in_flight),
    )  # fmt: skip
    return GatewayLoad(
        waiting=0, oldest_wait=0, in_flight=0, draining=False, groups=(group,), totals={}, adapters=traffic
    )


@dataclass
class FakeGroup:
    """A group's engine: what it answers with by name, and what it is told. A change takes ``SECONDS``."""

    SECONDS = 2

    ordinal: int
    room: int = 4
    rotates: bool = True
    note: str = ""
    told: tuple[WantedAdapter, ...] = ()
    serves: dict[str, int] = field(default_factory=dict)  # version by name
    work: dict[tuple[str, int], int] = field(default_factory=dict)
    bad: set[tuple[str, int]] = field(default_factory=set)  # refused by this engine

    def tick(self) -> None:
        """A second: what is told is loaded and verified beside what answers; what is not told goes."""
        versions = {one.adapter.name: version_of(one) for one in self.told}
        for name in set(self.serves) - set(versions):
            del self.serves[name]
        self.work = {key: done for key, done in self.work.items() if versions.get(key[0]) == key[1]}
        for name, version in versions.items():
            key = name, version
            self.work[key] = self.work.get(key, 0) + 1
            if self.work[key] >= self.SECONDS and key not in self.bad:
                self.serves[name] = version

    def restart(self) -> None:
        """The engine starts again; what it was told lies in the pod."""
        self.serves, self.work = {}, {}

    def progress(self) -> tuple[AdapterProgress, ...]:
        return tuple(self._progress(one) for one in self.told)

    def _progress(self, one: WantedAdapter) -> AdapterProgress:
        name, version = one.adapter.name, version_of(one)
        if self.serves.get(name) == version:
            return progress(name, version)
        late = self.work.get((name, version), 0) >= self.SECONDS
        return progress(name, version, "refused" if late else "loading")


def seen(groups: Iterable[FakeGroup], adapters: tuple[Named, ...], loads: Iterable[GatewayLoad] = ()) -> PlanState:
    """What a pass sees of these groups."""
    groups = tuple(groups)
    pods = [
        pod
        for one in groups
        for pod in (
            leader(one.ordinal, adapters=one.note, in_rotation=one.rotates, ready=one.rotates),
            worker(one.ordinal),
        )
    ]
    cells = {}
    for one in groups:
        for number in (0, 1):
            answer = cell(group=one.ordinal, stage=number, adapters=one.progress() if number == 0 else ())
            cells[f"chat-{NEW}-{one.ordinal}-{number}"] = answer
    files = tuple(room_file(one.ordinal, one.room) for one in groups)
    listed = tuple((one.name, one.object) for one in adapters)
    found = replace(
        _deployment(len(groups), listed),
        adapters={name: view for one in adapters for name, view in one.objects().items()},
        pods=tuple(pods),
        cells=cells,
        children=(gateway_deployment(), *files),
        loads={f"gateway-{number}": one for number, one in enumerate(loads)},
    )
    return state_of(found)


@lru_cache(maxsize=256)  # a history has hundreds of passes
def _deployment(replicas: int, adapters: tuple[tuple[str, str], ...]) -> Snapshot:
    spec = {"adapters": [{"name": name, "adapter": adapter} for name, adapter in adapters]} if adapters else {}
    return world(replicas=replicas, spec=spec)


def one_pass(groups: Iterable[FakeGroup], adapters: tuple[Named, ...], loads: Iterable[GatewayLoad] = ()) -> None:
    """Do what the plan wants with the adapters of these groups: annotations first, as the operator does."""
    groups = tuple(groups)
    state = seen(groups, adapters, loads)
    for fake, group in zip(groups, state.groups, strict=True):
        note = adapter_note(group, state)
        if note is not None:
            fake.note = note.text
        fake.told = group_adapters(group, state, digest=digest_of("v1"))


def notes(groups: Iterable[FakeGroup]) -> list[dict[str, str]]:
    return [announced(one.note) for one in groups]
