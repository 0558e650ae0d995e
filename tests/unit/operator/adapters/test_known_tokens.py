"""A busy deployment reads its Secret at most twice a minute, and never gets the token of another object."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llama_operator.adapters.known_tokens import FRESH, KnownTokens
from llama_operator.manifests.deployment import token_secret
from llama_operator.ports import Key, Manifest
from tests.fakes.samples import CPU_SPEC, context_of

HERE = Key("team", "chat")


def secret(key: Key = HERE, uid: str = "one") -> Manifest:
    return token_secret(context_of(CPU_SPEC, key=key, uid=uid))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(min_value=0.001, max_value=10), max_size=400))
def test_reads_are_as_far_apart_as_a_token_is_fresh(pauses: list[float]) -> None:
    clock, reads = Clock(), list[float]()
    known = KnownTokens(clock)
    for pause in pauses:
        clock.now += pause
        if known.find(HERE, secret()) is None:
            reads.append(clock.now)
            known.keep(HERE, secret(), "token")
    assert all(later - earlier >= FRESH for earlier, later in pairwise(reads))


def test_a_token_is_that_of_one_object() -> None:
    known = KnownTokens(Clock())
    assert known.keep(HERE, secret(), "mine") == "mine"
    assert known.find(HERE, secret()) == "mine"
    assert known.find(HERE, secret(uid="two")) is None, "made anew under the same name"
    other = Key("another", "chat")
    assert known.find(other, secret(other)) is None


def test_an_old_token_is_read_again() -> None:
    clock = Clock()
    known = KnownTokens(clock)
    known.keep(HERE, secret(), "mine")
    clock.now = FRESH
    assert known.find(HERE, secret()) is None
