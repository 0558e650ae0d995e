"""Objects and tool calls through kills and upgrades: each fits, and is what its weights say undisturbed."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples import models
from tests.e2e.support.bed import NAMESPACE, Bed, Object, manifest
from tests.e2e.support.corpus import CorpusLoad, cases, check_corpus, undisturbed
from tests.e2e.support.faults import kill_engine_part
from tests.soak import soak
from tests.unit.config.chat.templates import HERMES, SMOLLM2_BROKEN, SMOLLM2_TOOLS

pytestmark = [soak, pytest.mark.timeout(5400)]

ROUNDS = 10  # a kill and an upgrade each
CLIENTS = 8
TEMPLATE: Object = {
    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hermes", "namespace": NAMESPACE},
    "data": {"chat_template.jinja": HERMES},
}  # fmt: skip
CALL: Object = {
    "prompt": "What is the weather in Paris?",
    "tools": [
        {
            "name": "get_weather",
            "description": "Get the weather of a city",
            "parameters": '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
        }
    ],
    "expectCall": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
    "maxTokens": 64,
}
#: Chat templates that show no tools, and what the golden call then says.
BROKEN = {
    "without-tools": (SMOLLM2_BROKEN, "this model is served without tools: the chat template has no tools"),
    "misspelt": (SMOLLM2_TOOLS.replace("{%- if tools %}", "{%- if tool %}"), "expected a call of get_weather"),
}


@dataclass(frozen=True)
class Served:
    """A deployment of two groups, and the two revisions between which it goes."""

    name: str
    revisions: tuple[str, str]
    spec: Object


def model(source: Path, license_: str) -> Object:
    return {"source": "pvc://models/{revision}", "revision": source.name, "license": license_, "acceptLicense": True}


def tiny() -> Served:
    """The tiny model, which has no template with tools; the deployment brings one."""
    one, other = models.tiny(1), models.tiny(2)
    template = {"chatTemplate": {"configMap": "hermes"}}
    return Served("forms-tiny", (one.name, other.name), {"model": model(one, "none") | template})


def smollm2() -> Served:
    """A real model with a template that shows it how to call."""
    one = models.with_template(models.smollm2(), "smollm2-tools", SMOLLM2_TOOLS)
    tuned = models.damaged(models.smollm2(), "tuned")
    other = models.with_template(tuned, "smollm2-tuned", SMOLLM2_TOOLS)
    spec = {"model": model(one, "apache-2.0"), "verify": {"goldenPrompts": [CALL]}}
    return Served("forms-smollm2", (one.name, other.name), spec)


@pytest.fixture(scope="module", params=[smollm2, tiny])
def served(bed: Bed, request: pytest.FixtureRequest) -> Iterator[Served]:
    """Two groups that serve; all others have given their memory."""
    found: Served = request.param()
    bed.kubectl("delete", "llamadeployment", "--all", "--wait=true", "--timeout=300s")
    bed.kubectl.apply(TEMPLATE, manifest(found.name, replicas=2, contextLength=2048, **found.spec))
    bed.wait_serving(found.name, 2)
    yield found
    bed.kubectl("delete", "llamadeployment", found.name, "--wait=true", "--timeout=180s")
    bed.kubectl("delete", "configmap", TEMPLATE["metadata"]["name"])


async def test_answers_keep_their_form_through_kills_and_upgrades(bed: Bed, served: Served) -> None:
    name, asked, known = served.name, cases(), {}
    url = bed.service_url(name)
    for revision in reversed(served.revisions):
        await asyncio.to_thread(bed.upgrade, name, revision, within=400)
        started = time.monotonic()
        known[bed.weights(name)] = await undisturbed(url, name, asked, at_a_time=CLIENTS)
        print(f"{name}: {len(asked)} answers of {revision} in {time.monotonic() - started:.0f} s", flush=True)
    one, other = known.values()
    assert sum(one[message] != other[message] for message in one) > len(one) // 4, "alike: nothing would show"
    async with CorpusLoad(url, name, asked, clients=CLIENTS) as load:
        await load.finished(10, within=120)
        for number in range(ROUNDS):
            started = time.monotonic()
            group, stage = str(number % 2), str(number // 2 % 2)
            await asyncio.to_thread(kill_engine_part, bed, name, group=group, stage=stage)
            await asyncio.to_thread(bed.wait_serving, name, 2, within=600)
            back = time.monotonic() - started
            await asyncio.to_thread(bed.upgrade, name, served.revisions[(number + 1) % 2], within=400)
            print(
                f"{name}: round {number + 1}: back after {back:.0f} s, upgraded after "
                f"{time.monotonic() - started - back:.0f} s; {load.summary()}",
                flush=True,
            )
            await load.finished(10, within=120)
            check_corpus(load.answers, asked, known)
    unseen = load.unseen()
    assert not unseen, f"{len(unseen)} cases were not answered under load"
    assert {answer.weights for answer in load.answers} == set(known), "both weights have answered under load"
    check_corpus(load.answers, asked, known)


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_template_is_held_by_its_golden_call(bed: Bed, served: Served, fault: str) -> None:
    if served.name != "forms-smollm2":
        pytest.skip("the tiny model calls nothing by itself")
    name, asked = served.name, cases()[:12]
    url, good = bed.service_url(name), served.revisions[0]
    await asyncio.to_thread(bed.upgrade, name, good, within=400)
    known = {bed.weights(name): await undisturbed(url, name, asked, at_a_time=CLIENTS)}
    template, words = BROKEN[fault]
    broken = models.with_template(models.smollm2(), f"smollm2-{fault}", template).name
    async with CorpusLoad(url, name, asked, clients=CLIENTS) as load:
        await load.finished(10, within=120)
        bed.edit(name, {"model": {"revision": broken}})
        held = await asyncio.to_thread(bed.wait_for, name, is_held, within=900, what="held")
        await load.finished(10, within=120)
        bed.edit(name, {"model": {"revision": good}})
        await asyncio.to_thread(bed.wait_serving, name, 2, within=600)
        await load.finished(10, within=120)
    print(load.summary())
    assert words in held["status"]["message"], held["status"]["message"]
    check_corpus(load.answers, asked, known)


def is_held(found: Object) -> bool:
    return (found["status"].get("rollout") or {}).get("phase") == "Held"
