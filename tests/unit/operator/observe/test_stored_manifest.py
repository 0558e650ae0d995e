"""The manifest in a ConfigMap, as anybody may have written it: bounded, decoded once, said in one sentence."""

import base64
import gzip
import hashlib
import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from llama_operator.bounds.packed import inflate
from llama_operator.observe.stored_manifest import MANIFEST_JSON, MANIFEST_PACKED, manifest_problem, read_manifest
from llama_operator.observe.weights import weights_snapshot, weights_views
from llama_operator.plan.weights.resolve import plan_weights
from llama_operator.ports import LEFT_OUT
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.weights import MANIFEST_LIMIT, Manifest, ManifestFile
from tests.fakes.cluster import START
from tests.fakes.weights import MANIFEST, NAME, UID, manifest_body, packed, weights_body
from tests.fakes.world import SETTINGS
from tests.unit.operator.bounds.test_packed import bomb

PER_LAYER = (
    "input_layernorm.weight", "mlp.down_proj.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight",
    "post_attention_layernorm.weight", "self_attn.k_proj.weight", "self_attn.o_proj.weight",
    "self_attn.q_proj.weight", "self_attn.v_proj.weight",
)  # fmt: skip


def sha(*what: object) -> str:
    return hashlib.sha256("/".join(map(str, what)).encode()).hexdigest()


def of_405b(shards: int = 191, *, scales: bool = False, seed: int = 0) -> Manifest:
    """The manifest of Llama 3.1 405B: 126 layers; in FP8 each projection has two scales."""
    tensors = [f"model.layers.{layer}.{name}" for layer in range(126) for name in PER_LAYER]
    tensors += ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    if scales:
        tensors += [f"{name}{end}" for name in tensors if "proj" in name for end in ("_scale", "_input_scale")]
    files = [f"model-{number + 1:05d}-of-{shards:05d}.safetensors" for number in range(shards)]
    held: dict[str, dict[str, str]] = {file: {} for file in files}
    for number, name in enumerate(tensors):
        held[files[number * shards // len(tensors)]][name] = sha("t", seed, name)
    small = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    return Manifest(
        files=tuple(ManifestFile(path=path, size=4 * 10**9, sha256=sha("f", seed, path)) for path in (*small, *files)),
        tensors=held,
        headers={file: sha("h", seed, file) for file in files},
    )


def body_of(text: str, *, version: str = "1", uid: str = "uid-cm") -> dict[str, Any]:
    body = manifest_body()
    body["metadata"] |= {"resourceVersion": version, "uid": uid}
    body["binaryData"] = {MANIFEST_KEY: text}
    return body


def text_of(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data)).decode()


BOMB = base64.b64encode(bomb(300)).decode()


@pytest.mark.parametrize(
    ("shards", "scales"), [(191, False), (109, True), (1000, False), (1000, True)], ids=["bf16", "fp8", "1000", "both"]
)
def test_the_largest_llama_fits_with_a_margin_of_two(shards: int, scales: bool) -> None:
    manifest = of_405b(shards, scales=scales)
    text = manifest.model_dump_json()
    assert 4 * len(text) < MANIFEST_JSON.size or shards == 1000
    assert 2 * len(text) < MANIFEST_JSON.size
    assert 2 * len(text) < MANIFEST_LIMIT or shards == 1000
    assert len(text) < MANIFEST_LIMIT, "it lies as it is in the ConfigMap of each group"
    assert 2 * len(gzip.compress(text.encode())) < MANIFEST_PACKED
    assert 2 * (text.count(",") + text.count("{") + text.count("[")) < MANIFEST_JSON.elements
    assert read_manifest(body_of(packed(manifest), uid=f"{shards}{scales}")).manifest == manifest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "becomes more than 4194304 bytes when it is unpacked, which is the limit"),
        (text_of(b"[" * 100_001), "elements of JSON, the limit is 100000"),
        (text_of(b"[" * 50_000), "is nested 50000 levels deep, the limit is 8"),
        (text_of(json.dumps({"files": [0] * 200_000}).encode()), "elements of JSON, the limit is 100000"),
        (text_of(b'{"files":[{"path":"a","size":1' + b"0" * 5000 + b',"sha256":"' + b"a" * 64 + b'"}]}'), "the number"),
        (text_of(json.dumps({"files": [], **{str(n): 0 for n in range(5000)}}).encode()), "breaks 5000 rules"),
        (text_of(b"{}"), "is no manifest: files is missing"),
        ("no base64!", "is no base64"),
        ("bm8gZ3ppcA==", "is no gzip"),
        ("A" * 2_000_000, "characters of base64, the limit is"),
    ],
    ids=["bomb", "many", "deep", "list", "digits", "fields", "empty", "no base64", "no gzip", "long"],
)
def test_what_is_no_manifest_is_one_sentence_with_the_limit(text: str, said: str) -> None:
    body = body_of(text, uid=sha(text))
    tracemalloc.start()
    try:
        found = read_manifest(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.manifest is None
    assert said in found.problem
    assert manifest_problem(body) == f"{MANIFEST_KEY} of ConfigMap {NAME}-manifest {found.problem}"
    assert peak < 40 << 20


def test_one_version_is_decoded_once_whoever_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counted(text: str, **limits: int) -> bytes:
        decoded.append(text[:8])
        return inflate(text, **limits)

    monkeypatch.setattr("llama_operator.observe.stored_manifest.inflate", counted)
    for _ in range(50):
        read_manifest(body_of(BOMB, uid="once"))
        read_manifest(body_of(packed(MANIFEST), uid="other"))
    assert len(decoded) == 2
    assert read_manifest(body_of(packed(MANIFEST), uid="once", version="2")).manifest == MANIFEST
    assert len(decoded) == 3


def test_a_bomb_leaves_the_weights_of_others_ready() -> None:
    status = {"ready": True, "digest": MANIFEST.digest, "reason": "Accepted", "message": "fine"}
    mine = weights_body() | {"status": status}
    hurt = weights_body(name="hurt") | {"status": status}
    hurt["metadata"]["uid"] = "uid-hurt"
    bad = body_of(BOMB, uid="uid-bad")
    bad["metadata"]["ownerReferences"] = [{"uid": "uid-hurt"}]
    views = weights_views([mine, hurt], [manifest_body(), bad])
    assert (views[NAME].ready, views["hurt"].ready) == (True, False)
    assert views["hurt"].message.endswith("becomes more than 4194304 bytes when it is unpacked, which is the limit")


def test_its_own_weights_say_it_and_are_resolved_again() -> None:
    body = weights_body() | {"status": {"ready": True, "digest": MANIFEST.digest, "reason": "Accepted"}}
    snapshot = weights_snapshot(body, [body_of(BOMB, uid="uid-own")])
    plan = plan_weights(replace(snapshot, status=snapshot.status), SETTINGS, START)
    assert plan.start is not None
    assert plan.message.endswith("which is the limit, so the source is resolved again")


def test_what_is_left_out_of_the_watch_says_why() -> None:
    body = {key: value for key, value in manifest_body().items() if key != "binaryData"} | {LEFT_OUT: "it is large"}
    assert read_manifest(body).problem == "is not read: it is large"
    assert UID in {owner["uid"] for owner in body["metadata"]["ownerReferences"]}
