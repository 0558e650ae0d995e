"""LoRA adapters that answer with their name, and a load that asks every served name what it is."""

import asyncio
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.models.adapters import PROMPT, answer
from tests.e2e.support.bed import NAMESPACE, Object
from tests.e2e.support.load import PROMPTS, Answer, ClosedLoad, ask, check_whole, request

TOKENS = 12


def adapter(word: str, source: str) -> Object:
    """A LlamaAdapter that must say its word before it gets requests."""
    golden = {"prompt": PROMPT, "expect": answer(word), "chat": False, "maxTokens": 8}
    spec = {
        "source": source, "revision": "v1", "license": "none", "acceptLicense": True, "goldenPrompts": [golden],
    }  # fmt: skip
    return {
        "apiVersion": "llama-operator.dev/v1alpha1", "kind": "LlamaAdapter",
        "metadata": {"name": f"says-{word}", "namespace": NAMESPACE}, "spec": spec,
    }  # fmt: skip


def served(words: Mapping[str, str]) -> list[dict[str, str]]:
    """``spec.adapters``: which word is behind each name of the API."""
    return [{"name": name, "adapter": f"says-{word}"} for name, word in words.items()]


def bytes_of_layers(file: Path, layers: Iterable[int]) -> int:
    """Bytes of the tensors of some layers in a safetensors file."""
    data = file.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    marks = [f".layers.{layer}." for layer in layers]
    spans = [entry["data_offsets"] for name, entry in header.items() if any(mark in name for mark in marks)]
    return sum(end - start for start, end in spans)


@dataclass(frozen=True)
class Told:
    """An answer, the name that was asked, and the words that it may say: those of the name at any time meanwhile."""

    name: str
    words: frozenset[str]
    answer: Answer

    @property
    def right(self) -> bool:
        return any(answer(word) in self.answer.text for word in self.words)


@dataclass
class AdapterLoad(ClosedLoad):
    """Closed clients that ask a random name each time; six of ten requests stream.

    ``words``: what each name may say. Change it with ``may_say``, so that requests under way may say the new word too.
    The base is asked under its own name, and every one of its answers is kept in ``of_base``.
    """

    url: str
    base: str
    clients: int = 6
    words: dict[str, frozenset[str]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    of_base: list[Answer] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    _open: "set[_Open]" = field(default_factory=set, init=False)

    def may_say(self, name: str, *words: str) -> None:
        """From now on a name may say these words; none: it is asked no more."""
        for one in self._open:
            if one.name == name:
                one.words |= set(words)
        self.words[name] = frozenset(words)

    async def no_more(self, name: str) -> None:
        """Ask a name no more, and wait for what is under way."""
        self.words.pop(name)
        await asyncio.gather(*(one.done.wait() for one in self._open if one.name == name))

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        while not self._stop:
            name = chance.choice([self.base, *self.words])
            prompt = chance.choice((PROMPT, *PROMPTS))
            body = request(name, prompt, tokens=TOKENS, stream=chance.random() < 0.6)
            await self._one(_Open(name, set(self.words.get(name, ()))), body)

    async def _one(self, asked: "_Open", body: Mapping[str, Any]) -> None:
        self._open.add(asked)
        got = await ask(self._session, self.url, body)
        self._open.discard(asked)
        asked.done.set()
        self.answers.append(got)
        if asked.name == self.base:
            self.of_base.append(got)
        else:
            self.told.append(Told(asked.name, frozenset(asked.words), got))

    def check(self) -> None:
        """No request failed or broke, and each name was answered by its own adapter."""
        check_whole(self.answers)
        wrong = [one for one in self.told if not one.right]
        assert not wrong, f"{len(wrong)} of {len(self.told)} answers are another adapter's or the base's: {wrong[:3]}"


@dataclass(eq=False)
class _Open:
    """A request under way."""

    name: str
    words: set[str]
    done: asyncio.Event = field(default_factory=asyncio.Event)
