"""Twenty adapters over two groups, under load: every name is answered by its own adapter, whatever happens."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from examples import models
from llama_serving.config import names
from testbed.models.adapters import NAMES
from tests.e2e.support.adapter_load import TOKENS, AdapterLoad, adapter, bytes_of_layers, served
from tests.e2e.support.bed import Bed, Object, manifest
from tests.e2e.support.faults import cell_state, is_ready, kill_engine_part, kill_operator, machine, stage_pod, until
from tests.e2e.support.load import references
from tests.e2e.support.origin import origin, write_sums
from tests.soak import soak

pytestmark = [soak, pytest.mark.timeout(3600)]

NAME = "with-adapters"
FETCHED = 4  # adapters that come over HTTP; the others lie in the claim
LATER = ("pods", "step")  # what two names say after a change
LAYERS = ((0, 1), (2, 3))  # of the tiny model, by stage
STAGED = 1.05  # bytes read for what a stage needs
LISTED_WITHIN = 150  # seconds until gateways know a name: a kubelet refreshes a ConfigMap about each minute


@pytest.fixture(scope="module")
def words(bed: Bed) -> Iterator[dict[str, str]]:
    """The word behind each name, and a deployment of one group that serves the first 18; all others have gone."""
    tiny = models.tiny(1)
    models.damaged(tiny, "near")
    folder = models.adapters(tiny, (*NAMES, *LATER))
    for word in (*NAMES, *LATER):
        write_sums(folder / word)
    found = {f"who-{word}": word for word in NAMES}
    bed.kubectl("delete", "llamadeployment", "--all", "--wait=true", "--timeout=300s")
    with origin(folder, host=machine().host_address) as fetched:
        claimed = f"pvc://models/{folder.name}"
        sources = [fetched.url] * FETCHED + [claimed] * (len(NAMES) + len(LATER) - FETCHED)
        objects = [adapter(word, f"{source}/{word}") for word, source in zip((*NAMES, *LATER), sources, strict=True)]
        first = dict(list(found.items())[:18])
        bed.kubectl.apply(*objects, manifest(NAME, replicas=1, adapters=served(first)))
        bed.wait_serving(NAME, 1)
        yield found
        bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=180s")
        bed.kubectl("delete", "llamaadapter", "--all", "--wait=true", "--timeout=60s")


async def test_each_name_is_answered_by_its_own_adapter(bed: Bed, words: dict[str, str]) -> None:
    every = list(words)
    first, added, changed, removed = every[:18], every[18:], every[:2], every[2:4]
    url, serving = bed.service_url(NAME), {name: words[name] for name in first}
    await asyncio.to_thread(all_ready, bed, serving, 1)
    known = {bed.weights(NAME): await references(url, NAME, tokens=TOKENS)}
    async with AdapterLoad(url, NAME, words={name: frozenset({word}) for name, word in serving.items()}) as load:
        await load.finished(40, within=120)

        await asyncio.to_thread(bed.kubectl, "scale", "llamadeployment", NAME, "--replicas=2")
        await asyncio.to_thread(has_all_when_ready, bed, "1", set(serving))
        await asyncio.to_thread(bed.wait_serving, NAME, 2)
        await step(load, "a second group")

        serving |= {name: words[name] for name in added}
        await asyncio.to_thread(bed.edit, NAME, {"adapters": served(serving)})
        for name in added:
            await asyncio.to_thread(listed, url, name, there=True)
            load.may_say(name, words[name])  # asked at once: the request waits until a group has it
        await asyncio.to_thread(all_ready, bed, serving, 2)
        await step(load, "two added")

        for name, word in zip(changed, LATER, strict=True):
            load.may_say(name, serving[name], word)
            serving[name] = word
        await asyncio.to_thread(bed.edit, NAME, {"adapters": served(serving)})
        await asyncio.to_thread(all_ready, bed, serving, 2)
        for name in changed:
            load.may_say(name, serving[name])
        await step(load, "two changed")

        for name in removed:
            await load.no_more(name)
            serving.pop(name)
        await asyncio.to_thread(bed.edit, NAME, {"adapters": served(serving)})
        for name in removed:
            await asyncio.to_thread(listed, url, name, there=False)
            assert await asyncio.to_thread(refusal, url, name) == (404, "model_not_found")
        await step(load, "two removed")

        for group, stage in (("0", "1"), ("1", "0")):
            await asyncio.to_thread(kill_engine_part, bed, NAME, group=group, stage=stage)
            await asyncio.to_thread(has_all_when_ready, bed, group, set(serving))
            await asyncio.to_thread(bed.wait_serving, NAME, 2)
            await step(load, f"stage {stage} of group {group} killed")

        await asyncio.to_thread(bed.upgrade, NAME, "tiny-1-near", within=400)
        await asyncio.to_thread(all_ready, bed, serving, 2)
        await step(load, "base swapped")

        serving |= {name: words[name] for name in removed}
        await asyncio.to_thread(bed.edit, NAME, {"adapters": served(serving)})
        await asyncio.to_thread(kill_operator, bed)
        for name in removed:
            await asyncio.to_thread(listed, url, name, there=True)
            load.may_say(name, words[name])
        await asyncio.to_thread(all_ready, bed, serving, 2)
        await step(load, "operator killed while two came back")
    known[bed.weights(NAME)] = await references(url, NAME, tokens=TOKENS)
    load.check()
    wrong = [
        one for one in load.of_base if one.prompt in known[one.weights] and one.text != known[one.weights][one.prompt]
    ]
    assert not wrong, f"{len(wrong)} of {len(load.of_base)} answers of the base are not its own: {wrong[:2]}"
    assert {told.name for told in load.told} == set(words), "every name was asked"
    assert {one.group for one in load.answers} == {"0", "1"}, "both groups answered"


async def test_each_stage_reads_its_own_layers_only(bed: Bed, words: dict[str, str]) -> None:
    folder = models.adapters(models.tiny(1), NAMES)
    for group in ("0", "1"):
        for stage, layers in enumerate(LAYERS):
            state = cell_state(stage_pod(bed, NAME, group=group, stage=str(stage)))
            staged = [one for one in state["staging"]["adapters"] if one["outcome"] == "ready"]
            assert len(staged) >= len(words), state["staging"]
            needed = bytes_of_layers(folder / NAMES[0] / "adapter_model.safetensors", layers)
            most = max(one["bytes_done"] for one in staged)
            print(f"group {group}, stage {stage}: {most} bytes of an adapter, {needed} needed", flush=True)
            assert needed <= most <= needed * STAGED


async def step(load: AdapterLoad, what: str) -> None:
    """A few more answers, and how it stands."""
    await load.finished(30, within=180)
    print(f"{what}: {load.summary()}", flush=True)
    load.check()


def all_ready(bed: Bed, serving: dict[str, str], groups: int) -> None:
    """Wait until every group has verified each adapter."""
    wanted = {(name, f"says-{word}", "Ready", f"{groups}/{groups}") for name, word in serving.items()}

    def done(found: Object) -> bool:
        there = found["status"].get("adapters") or ()
        return {(one["name"], one["adapter"], one["state"], one.get("groupsReady", "")) for one in there} == wanted

    started = time.monotonic()
    bed.wait_for(NAME, done, within=400, what=f"with {len(wanted)} adapters on {groups} group(s)")
    print(f"{len(wanted)} adapters on {groups} group(s) after {time.monotonic() - started:.0f} s", flush=True)


def has_all_when_ready(bed: Bed, group: str, adapters: set[str]) -> None:
    """Wait until the leader of a group gets requests: gateways must know by then that it has all adapters."""
    chosen = f"{names.LABEL_DEPLOYMENT}={NAME},{names.LABEL_GROUP}={group},{names.LABEL_STAGE}=0"
    for event in bed.kubectl.watch("pods", "-l", chosen, within=600):
        pod = event["object"]
        if event["type"] != "DELETED" and is_ready(pod):
            noted = json.loads(pod["metadata"]["annotations"].get(names.ANNOTATION_ADAPTERS, "{}"))
            assert set(noted) >= adapters, f"group {group} is ready without {sorted(adapters - set(noted))}"
            return
    raise AssertionError(f"group {group} is not ready within 600 s")


def listed(url: str, name: str, *, there: bool) -> None:
    """Wait until gateways list a model, or no longer do."""
    started, what = time.monotonic(), f"{name} is {'listed' if there else 'gone'}"

    def missing() -> str:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as answer:
            known = {one["id"] for one in json.load(answer)["data"]}
        return "" if (name in known) == there else f"known: {sorted(known)}"

    until(what, missing, LISTED_WITHIN)
    print(f"{what} after {time.monotonic() - started:.0f} s", flush=True)


def refusal(url: str, name: str) -> tuple[int, Any]:
    """Status and code of what a name that does not exist gets."""
    body = json.dumps({"model": name, "prompt": "x", "max_tokens": 1}).encode()
    asked = urllib.request.Request(f"{url}/v1/completions", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["code"]
