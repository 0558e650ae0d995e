"""Which names exist, and what becomes of a request for one."""

import pytest

from llama_serving.config.gateway import ServedAdapter, ServedModels
from llama_serving.config.names import CODE_ADAPTER_REFUSED, CODE_MODEL_NOT_FOUND
from llama_serving.gateway.adapters.known_models import KnownModels, ModelRefusedError
from tests.unit.gateway.routing.worlds import endpoint


def known(*adapters: ServedAdapter, base: tuple[str, ...] = ("llama",)) -> KnownModels:
    made = KnownModels(base)
    made.tell_file(ServedModels(adapters=adapters))
    return made


def adapter(name: str, refused: str = "") -> ServedAdapter:
    return ServedAdapter(name=name, parent="llama", refused=refused)


def test_without_names_everything_is_the_bases() -> None:
    nobody = KnownModels(["llama"])
    assert not nobody.is_told
    assert [nobody.adapter_of(name) for name in (None, "llama", "whatever")] == [None, None, None]


def test_an_adapter_of_the_spec_exists_before_a_group_has_it() -> None:
    names = known(adapter("style"))
    assert [names.adapter_of(name) for name in (None, "llama", "style")] == [None, None, "style"]


def test_an_unknown_name_is_refused_in_openais_words() -> None:
    with pytest.raises(ModelRefusedError, match="The model 'other' does not exist") as found:
        known(adapter("style")).adapter_of("other")
    assert (found.value.status, found.value.code, found.value.param) == (404, CODE_MODEL_NOT_FOUND, "model")


def test_a_long_unknown_name_is_not_sent_back_whole() -> None:
    with pytest.raises(ModelRefusedError) as found:
        known().adapter_of("n" * 100_000)
    assert len(str(found.value)) < 300


def test_a_refused_adapter_is_refused_with_its_sentence_unless_a_group_still_answers() -> None:
    names = known(adapter("style", refused="its rank 128 is above 64"))
    with pytest.raises(ModelRefusedError, match="rank 128 is above 64") as found:
        names.adapter_of("style")
    assert found.value.code == CODE_ADAPTER_REFUSED
    assert names.parents() == {}
    names.tell_endpoints([endpoint("a", style="s@1")])
    assert names.adapter_of("style") == "style"
    assert names.parents() == {"style": "llama"}


def test_what_a_group_answers_with_exists_whatever_the_file_says() -> None:
    names = KnownModels(["llama"])
    names.tell_endpoints([endpoint("a", tone="t@1"), endpoint("b", ready=False, style="s@1")])
    assert names.is_told
    assert names.parents() == {"style": "llama", "tone": "llama"}
    names.tell_endpoints([])
    assert not names.is_told


def test_where_the_bases_name_is_not_known_any_name_may_be_it() -> None:
    names = known(adapter("style"), base=())
    assert [names.adapter_of(name) for name in ("style", "other")] == ["style", None]


def test_the_bases_name_is_never_an_adapter() -> None:
    names = known(adapter("style"))
    names.tell_endpoints([endpoint("a", llama="x@1")])
    assert names.adapter_of("llama") is None
