"""Which LoRA adapter an engine loads, verifies, serves or forgets next: one step at a time, until all is as desired.

==============================================  =================================================================
seen                                            follows
==============================================  =================================================================
names mean something else than they should      TellNames: a name means its desired digest once that was
                                                verified on this engine and base, and the digest it meant before
                                                until then
loaded, not verified on this engine and base    VerifyAdapter, with the golden prompts of the desired state
loaded, neither desired nor meant nor in use    UnloadAdapter
desired, staged on all stages, not loaded       LoadAdapter, while there is room; what replaces another digest of
                                                its name has room beside it
refused: by the rank, by a rank's load, by its  nothing, until its digest, its prompts, the base or the engine
golden prompts                                  is another
the engine ended twice while loading it         nothing, until its digest is another
==============================================  =================================================================

Invariants: at most one step is under way; an adapter that a name means or a request uses is never unloaded; no name
means an adapter that was not verified on the present engine and base.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from llama_serving.cell.policy.staging import StageView
from llama_serving.cell.shared.adapters.engine_adapter import AdapterTable, EngineAdapter, LoadedAdapter
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.desired import GoldenPrompt, GoldenResult
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import AdapterOutcome, AdapterProgress
from llama_serving.config.wording import plural

TRIES: Final = 3  # an engine that does not answer a golden prompt is asked again before that counts
ENDS: Final = 2  # engines that ended in a row while they loaded an adapter: it is to blame

Key = tuple[str, str]
"""Name and digest."""


@dataclass(frozen=True)
class AdapterFault:
    """What keeps an adapter from being loaded."""

    outcome: str  # AdapterOutcome: STAGING or REFUSED
    reason: str
    message: str


NO_ENGINE: Final = AdapterFault(AdapterOutcome.STAGING, "", "the engine has not answered yet")


@dataclass(frozen=True)
class DesiredAdapter:
    """An adapter that the group shall have."""

    adapter: EngineAdapter
    rank: int = 1
    golden: tuple[GoldenPrompt, ...] = ()
    fault: AdapterFault | None = None  # of its files; None: they lie ready on all stages


@dataclass(frozen=True)
class AdapterView:
    """What the leader sees in one look."""

    desired: tuple[DesiredAdapter, ...]  # most wanted first
    loaded: tuple[LoadedAdapter, ...]
    engine: int  # process of the replica
    base: str  # key of the weights that the engine holds
    limits: AdapterLimits | None
    capacity: int = 0  # adapters that the engine can hold


@dataclass(frozen=True)
class AdapterVerdict:
    """What an adapter answered to its golden prompts."""

    engine: int
    base: str
    golden: tuple[GoldenPrompt, ...]
    results: tuple[GoldenResult, ...] = ()
    error: str = ""  # why the engine could not be asked
    tries: int = 1

    @property
    def passed(self) -> bool:
        """Whether every answer was as expected."""
        return not self.error and all(result.passed for result in self.results)

    @property
    def final(self) -> bool:
        """Whether it counts; an error counts when it came again and again."""
        return not self.error or self.tries >= TRIES


@dataclass(frozen=True)
class LoadRefusal:
    """Why an engine did not load an adapter."""

    engine: int
    message: str


@dataclass(frozen=True)
class AdapterMemory:
    """What is kept between two steps."""

    verdicts: Mapping[Key, AdapterVerdict] = field(default_factory=dict)
    refusals: Mapping[Key, LoadRefusal] = field(default_factory=dict)
    ends: Mapping[Key, int] = field(default_factory=dict)  # engines that ended in a row while they loaded it
    told: tuple[int, AdapterTable] | None = None  # which engine was told which table last


@dataclass(frozen=True)
class TellNames:
    """Let names mean what the table says."""

    table: AdapterTable


@dataclass(frozen=True)
class LoadAdapter:
    """Load on all ranks."""

    adapter: EngineAdapter


@dataclass(frozen=True)
class VerifyAdapter:
    """Ask its golden prompts; ``tries`` counts the times, this one included."""

    adapter: EngineAdapter
    golden: tuple[GoldenPrompt, ...]
    tries: int = 1


@dataclass(frozen=True)
class UnloadAdapter:
    """Let all ranks forget it."""

    adapter: EngineAdapter


AdapterStep = TellNames | LoadAdapter | VerifyAdapter | UnloadAdapter


def next_step(view: AdapterView, memory: AdapterMemory) -> AdapterStep | None:
    """Return what is to be done next; None where everything is as it can be."""
    table = desired_table(view, memory)
    if memory.told != (view.engine, table):
        return TellNames(table)
    return _verification(view, memory) or _unload(view, memory, table) or _load(view, memory)


def desired_table(view: AdapterView, memory: AdapterMemory) -> AdapterTable:
    """Return what names should mean now."""
    desired = _by_name(view.desired)
    served = [found for item in desired.values() if (found := _meaning(item, view, memory)) is not None]
    return AdapterTable(known=tuple(sorted(desired)), served=tuple(served), base=view.base)


def _by_name(desired: Iterable[DesiredAdapter]) -> dict[str, DesiredAdapter]:
    """Return the desired adapters by name; of two with one name the more wanted one counts."""
    found: dict[str, DesiredAdapter] = {}
    for item in desired:
        found.setdefault(item.adapter.name, item)
    return found


def _meaning(item: DesiredAdapter, view: AdapterView, memory: AdapterMemory) -> EngineAdapter | None:
    keys = {loaded.adapter.key for loaded in view.loaded}
    if item.adapter.key in keys and _serves(item.adapter.key, view, memory):
        return item.adapter
    before = () if memory.told is None or memory.told[0] != view.engine else memory.told[1].served
    for adapter in before:
        if adapter.name == item.adapter.name and adapter.key in keys and _serves(adapter.key, view, memory):
            return adapter
    return None


def _serves(key: Key, view: AdapterView, memory: AdapterMemory) -> bool:
    verdict = _verdict(key, view, memory)
    return verdict is not None and verdict.passed


def _verdict(key: Key, view: AdapterView, memory: AdapterMemory) -> AdapterVerdict | None:
    """Return the verdict of this engine on this base."""
    found = memory.verdicts.get(key)
    return found if found is not None and (found.engine, found.base) == (view.engine, view.base) else None


def _checked(item: DesiredAdapter, view: AdapterView, memory: AdapterMemory) -> AdapterVerdict | None:
    """Return the final verdict on the prompts that are desired."""
    found = _verdict(item.adapter.key, view, memory)
    return found if found is not None and found.golden == item.golden and found.final else None


def _verification(view: AdapterView, memory: AdapterMemory) -> AdapterStep | None:
    keys = {loaded.adapter.key for loaded in view.loaded}
    for item in _by_name(view.desired).values():
        key = item.adapter.key
        if key in keys and _checked(item, view, memory) is None:
            last = _verdict(key, view, memory)
            again = last is not None and bool(last.error) and last.golden == item.golden
            return VerifyAdapter(item.adapter, item.golden, last.tries + 1 if again and last is not None else 1)
    return None


def _unload(view: AdapterView, memory: AdapterMemory, table: AdapterTable) -> AdapterStep | None:
    kept = {adapter.key for adapter in table.served}
    kept |= {item.adapter.key for item in _by_name(view.desired).values() if not _failed(item, view, memory)}
    for loaded in view.loaded:
        if loaded.adapter.key not in kept and not loaded.served and not loaded.in_flight:
            return UnloadAdapter(loaded.adapter)
    return None


def _failed(item: DesiredAdapter, view: AdapterView, memory: AdapterMemory) -> bool:
    verdict = _checked(item, view, memory)
    return verdict is not None and not verdict.passed


def _load(view: AdapterView, memory: AdapterMemory) -> AdapterStep | None:
    keys = {loaded.adapter.key for loaded in view.loaded}
    for item in _by_name(view.desired).values():
        if item.adapter.key not in keys and item.fault is None and _refusal(item, view, memory) is None:
            if not _has_room(item, view):
                continue
            return LoadAdapter(item.adapter)
    return None


def _has_room(item: DesiredAdapter, view: AdapterView) -> bool:
    """Return whether it may be loaded: the last place is for what replaces another digest of its name."""
    replaces = any(loaded.adapter.name == item.adapter.name for loaded in view.loaded)
    return len(view.loaded) < (view.capacity if replaces else view.capacity - 1)


def _refusal(item: DesiredAdapter, view: AdapterView, memory: AdapterMemory) -> str | None:
    """Say why an adapter whose files are ready is left out; None where it is not."""
    adapter, limits = item.adapter, view.limits
    if limits is None:
        return "this group was started without capacity for adapters"
    if item.rank > limits.max_rank:
        return f"its rank is {item.rank}, and the engine takes ranks up to {limits.max_rank}"
    if memory.ends.get(adapter.key, 0) >= ENDS:
        return f"the engine ended {'twice' if ENDS == 2 else f'{ENDS} times'} while loading {adapter.name}"
    refusal = memory.refusals.get(adapter.key)
    if refusal is not None and refusal.engine == view.engine:
        return refusal.message
    return _verdict_text(item, view, memory)


def _verdict_text(item: DesiredAdapter, view: AdapterView, memory: AdapterMemory) -> str | None:
    verdict = _checked(item, view, memory)
    if verdict is None or verdict.passed:
        return None
    if verdict.error:
        return f"it could not be verified on {_short(view.base)} in {verdict.tries} tries: {verdict.error}"
    failed = [result for result in verdict.results if not result.passed]
    return (
        f"{len(failed)} of {len(verdict.results)} golden prompts failed on the base {_short(view.base)}; the first"
        f" asked {failed[0].prompt[:60]!r} and got {failed[0].answer[:60]!r}"
    )


def _short(base: str) -> str:
    return base.removeprefix("sha256:")[:12]


def progress(view: AdapterView, memory: AdapterMemory) -> tuple[AdapterProgress, ...]:
    """Return how far the group is with each desired adapter."""
    return tuple(_progress(item, view, memory) for item in _by_name(view.desired).values())


def _progress(item: DesiredAdapter, view: AdapterView, memory: AdapterMemory) -> AdapterProgress:
    adapter, verdict = item.adapter, _verdict(item.adapter.key, view, memory)
    told = memory.told is not None and memory.told[0] == view.engine and adapter in memory.told[1].served
    loaded = any(found.adapter.key == adapter.key for found in view.loaded)
    known = {"name": adapter.name, "digest": adapter.digest, "golden": () if verdict is None else verdict.results}
    if loaded and told and verdict is not None and _checked(item, view, memory) is verdict and verdict.passed:
        return AdapterProgress(**known, outcome=AdapterOutcome.READY, base=view.base)
    refused = _refusal(item, view, memory)
    if refused is not None:
        return AdapterProgress(
            **known, outcome=AdapterOutcome.REFUSED, reason=CellReason.ADAPTER_REFUSED, message=refused
        )
    if loaded:
        return AdapterProgress(
            **known, outcome=AdapterOutcome.VERIFYING, message=f"asking {plural(len(item.golden), 'golden prompt')}"
        )
    if item.fault is not None:
        return AdapterProgress(
            **known, outcome=item.fault.outcome, reason=item.fault.reason, message=item.fault.message
        )
    return AdapterProgress(**known, outcome=AdapterOutcome.LOADING, message=_loading(item, view))


def _loading(item: DesiredAdapter, view: AdapterView) -> str:
    if _has_room(item, view):
        return "its files are ready on all stages"
    return f"it waits for capacity: {len(view.loaded)} of {view.capacity - 1} adapters are loaded"


def after_load(memory: AdapterMemory, adapter: EngineAdapter, *, engine: int, error: str) -> AdapterMemory:
    """Note what came of a load; the engine is there, so it did not end by it."""
    refusals = {key: refusal for key, refusal in memory.refusals.items() if key != adapter.key}
    if error:
        refusals[adapter.key] = LoadRefusal(engine, error)
    return replace(memory, refusals=refusals)


def after_verification(memory: AdapterMemory, adapter: EngineAdapter, verdict: AdapterVerdict) -> AdapterMemory:
    """Note what an adapter answered; one that answered anything did not end the engine."""
    memory = replace(memory, verdicts={**memory.verdicts, adapter.key: verdict})
    if verdict.error:
        return memory
    return replace(memory, ends={key: count for key, count in memory.ends.items() if key != adapter.key})


def after_end(memory: AdapterMemory, adapter: EngineAdapter) -> AdapterMemory:
    """Note that the engine ended while it loaded or tried an adapter."""
    return replace(memory, ends={**memory.ends, adapter.key: memory.ends.get(adapter.key, 0) + 1})


def pruned(memory: AdapterMemory, view: AdapterView) -> AdapterMemory:
    """Forget what is known of adapters that are neither desired nor loaded; a refusal, when its files come anew."""
    kept = {item.adapter.key for item in view.desired} | {loaded.adapter.key for loaded in view.loaded}
    anew = {item.adapter.key for item in view.desired if item.fault is not None}
    return replace(
        memory,
        verdicts={key: value for key, value in memory.verdicts.items() if key in kept},
        refusals={key: value for key, value in memory.refusals.items() if key in kept - anew},
        ends={key: value for key, value in memory.ends.items() if key in kept},
    )


def staging_fault(digest: str, views: Mapping[int, StageView]) -> AdapterFault | None:
    """Return what keeps an adapter from being loaded: a refusal before a wait, a lower stage before a higher."""
    faults = [fault for stage in sorted(views) if (fault := _stage_fault(digest, views[stage], stage)) is not None]
    return next(iter([*(fault for fault in faults if fault.outcome == AdapterOutcome.REFUSED), *faults]), None)


def _stage_fault(digest: str, view: StageView, stage: int) -> AdapterFault | None:
    if view.error:
        return AdapterFault(AdapterOutcome.STAGING, "", f"stage {stage} does not answer ({view.error})")
    if view.staging is None:
        return AdapterFault(AdapterOutcome.STAGING, "", f"the stager of stage {stage} has not reported yet")
    found = [staged for staged in view.staging.adapters if staged.digest == digest]
    if not found:
        return AdapterFault(AdapterOutcome.STAGING, "", f"the stager of stage {stage} has not started with it")
    staged = found[0]
    if staged.outcome == "ready":
        return None
    said = f"stage {stage}: {staged.message or f'{staged.outcome} {staged.reason}'.strip()}"
    return AdapterFault(
        AdapterOutcome.REFUSED if staged.outcome == "refused" else AdapterOutcome.STAGING, staged.reason, said
    )
