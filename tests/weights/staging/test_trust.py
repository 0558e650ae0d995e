"""Credentials go where the operator's signature sends them: the engine's container cannot make the stager send them."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llama_serving.config.desired import DesiredState, StagedWeights, WeightsArtifact
from llama_serving.config.trust.signature import sign
from llama_serving.weights.staging.dependencies import StagePod
from llama_serving.weights.staging.stager import Stager
from tests.fakes.staging import MemorySource, Pod, checkpoint, until, until_outcome

MODELS = [checkpoint(seed=seed, layers=4, shards=2) for seed in range(3)]
KEY = "a key that the engine does not have"


def item(number: int, *, place: str = "s3://models") -> WeightsArtifact:
    return MODELS[number].item(source=f"{place}/{number}")


class Sources:
    """All models, under any place; remembers where credentials went."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []  # source, and whether with credentials

    def __call__(self, uri: str, *, revision: str, credentials: Path | None) -> MemorySource:
        del revision
        self.asked.append((uri, credentials is not None))
        return MemorySource(MODELS[int(uri.rpartition("/")[2])].files, piece=2000)


class SealedPod(Pod):
    """A pod that the operator made with a key, and with credentials."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sources = Sources()
        self.open_source = self.sources
        self.write_key(KEY)

    @property
    def stage_pod(self) -> StagePod:
        return replace(super().stage_pod, credentials=self.root / "credentials")

    def write_key(self, key: str) -> None:
        folder = self.root / "stager-key"
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(key)

    def passes_on(
        self, *staged: WeightsArtifact, counter: int, key: str = KEY, pod: str = "pod", places: tuple[str, ...] = ()
    ) -> bytes:
        """What the supervisor writes of a signed state; returns the signed file."""
        desired = self.desire(*staged)
        body = desired.model_dump_json(exclude_defaults=True).encode()
        text = sign(body, key=key, pod=pod, counter=counter, places=places or ("s3://models",)).encode() + b"\n" + body
        self.replays(text)
        return text

    def replays(self, text: bytes) -> None:
        """Put a signed file there, as a hostile engine does with one that it kept."""
        beside = self.root / "signed.new"
        beside.write_bytes(text)
        beside.replace(self.root / "desired.signed")


@pytest.fixture
def mine(tmp_path: Path) -> SealedPod:
    found = SealedPod(tmp_path, MemorySource({}))
    found.configure(item(0))
    return found


async def seen(stager: Stager, wanted: WeightsArtifact) -> StagedWeights:
    """What the stager says of some weights, once it says anything."""
    found: list[StagedWeights] = []

    def says(said: dict[str, StagedWeights]) -> bool:
        if wanted.weights.digest in said:
            found.append(said[wanted.weights.digest])
        return bool(found)

    await until(stager, says)
    return found[0]


async def test_a_signed_state_is_taken_with_its_credentials(mine: SealedPod) -> None:
    mine.passes_on(item(1), counter=1)
    await until_outcome(mine.stager(), item(1), "ready")
    assert mine.sources.asked == [("s3://models/1", True)]


def garbage(pod: SealedPod, evil: WeightsArtifact) -> None:
    pod.desire(evil)
    pod.replays(b"{}\n{}")


FORGERIES: dict[str, Callable[[SealedPod, WeightsArtifact], object]] = {
    "without a signature": lambda pod, evil: pod.desire(evil),
    "with another key": lambda pod, evil: pod.passes_on(evil, counter=9, key="guessed"),
    "for another pod": lambda pod, evil: pod.passes_on(evil, counter=9, pod="other"),
    "with garbage": garbage,
    "with a signature of something else": lambda pod, evil: pod.replays(
        pod.passes_on(item(0), counter=9).partition(b"\n")[0] + b"\n" + pod.desire(evil).model_dump_json().encode()
    ),
}  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_state_moves_nothing(
    mine: SealedPod, forge: Callable[[SealedPod, WeightsArtifact], object]
) -> None:
    """The exfiltration: a state that names another host, while the pod serves what it was configured with."""
    evil = item(2, place="http://evil.example")
    forge(mine, evil)
    stager = mine.stager()
    said = await seen(stager, evil)
    await until_outcome(stager, item(0), "ready")
    assert (said.outcome, said.reason) == ("waiting", "DesiredStateNotSigned")
    assert said.message.startswith("nothing is read from http://evil.example: the desired state is not the operator's")
    assert [uri for uri, _ in mine.sources.asked] == ["s3://models/0"]
    await stager.close()


async def test_an_older_state_is_not_taken_again(mine: SealedPod) -> None:
    """A hostile engine keeps an old state and replays it, also after the container started again."""
    old = mine.passes_on(item(2), counter=1)
    await until_outcome(mine.stager(), item(2), "ready")
    mine.passes_on(item(1), counter=2)
    await until_outcome(mine.stager(), item(1), "ready")
    mine.replays(old)
    mine.desire(item(2))
    again = mine.stager()
    said = await seen(again, item(2))
    assert (said.outcome, said.reason) == ("waiting", "DesiredStateNotSigned")
    assert "a later one was taken before it" in said.message
    await again.close()


async def test_what_was_taken_holds_after_the_key_has_changed(mine: SealedPod) -> None:
    mine.passes_on(item(1), counter=5)
    await until_outcome(mine.stager(), item(1), "ready")
    mine.write_key("the next key")
    again = mine.stager()
    assert (await seen(again, item(1))).reason == ""
    await again.close()
    mine.passes_on(item(2), counter=6, key="the next key")
    await until_outcome(mine.stager(), item(2), "ready")


async def test_an_unsigned_state_of_known_items_counts(mine: SealedPod) -> None:
    """An older operator takes over: what it names of what is known is still done, so what serves goes on."""
    mine.passes_on(item(0), item(1), counter=1)
    await until_outcome(mine.stager(), item(1), "ready")
    (mine.root / "desired.signed").unlink()
    desired = mine.desire(item(0))
    stager = mine.stager()
    await until(stager, lambda said: set(said) == {item(0).weights.digest})
    assert stager.state is not None
    assert stager.state.desired == desired.key


async def test_credentials_stay_at_the_places_that_are_signed(mine: SealedPod) -> None:
    elsewhere = item(1, place="https://free.example")
    mine.passes_on(elsewhere, counter=1, places=("s3://models",))
    await until_outcome(mine.stager(), elsewhere, "ready")
    assert mine.sources.asked == [("https://free.example/1", False)]


async def test_a_pod_without_a_key_sends_credentials_only_where_it_started(tmp_path: Path) -> None:
    """A pod of an older operator: its states carry no signature, and are taken; a foreign host gets no credentials."""
    mine = SealedPod(tmp_path, MemorySource({}))
    (mine.root / "stager-key" / "token").unlink()
    (mine.root / "stager-key").rmdir()
    mine.configure(item(0))
    mine.desire(item(1), item(2, place="http://evil.example"))
    stager = mine.stager()
    await until(stager, lambda said: {one.outcome for one in said.values()} == {"ready"})
    assert sorted(mine.sources.asked) == [("http://evil.example/2", False), ("s3://models/1", True)]


async def test_a_state_that_is_a_link_or_a_pipe_is_none(mine: SealedPod) -> None:
    (mine.root / "secret").write_text(DesiredState(serve=item(2).weights, staged=(item(2),)).model_dump_json())
    (mine.root / "desired.signed").symlink_to("secret")
    os.mkfifo(mine.root / "desired.json")
    await until_outcome(mine.stager(), item(0), "ready")
    assert [uri for uri, _ in mine.sources.asked] == ["s3://models/0"]
