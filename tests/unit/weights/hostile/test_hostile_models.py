"""Folders that were made to take the resolver down: each ends in a sentence, before it takes memory or time."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable

import pytest

from llama_serving.config.weights import MANIFEST_LIMIT, Manifest, ManifestFile
from llama_serving.weights.resolve.front_matter import read_front_matter
from llama_serving.weights.source.oci_manifest import listed_files
from llama_serving.weights.source.sums import parse_sums
from tests.unit.weights.hostile.worlds import (
    ADAPTER_HEADER,
    CONFIG,
    DATA,
    HEADER,
    BytesSource,
    adapter,
    dumped,
    model,
    report,
    resolved,
    safetensors,
)

Files = dict[str, bytes]


def config(**changes: object) -> Files:
    return model(config__json=dumped({**CONFIG, **changes}))


def header(text: bytes, data: bytes = DATA) -> Files:
    return model(model__safetensors=safetensors(text, data))


def tensor(name: str, **changes: object) -> Files:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [192, 192], **changes}
    return header(dumped({**HEADER, name: entry}))


def readme(head: str) -> Files:
    return model(README__md=f"---\n{head}\n---\n".encode())


def digits(number: int) -> bytes:
    return b"9" * number


def with_digits(**entry: object) -> bytes:
    """A header whose one tensor has a number of 4300 digits in place of ``@``."""
    return dumped({"z": entry}).replace(b'"@"', digits(4300))


def empty_tensors(names: list[str]) -> dict[str, object]:
    return {name: {"dtype": "F32", "shape": [0], "data_offsets": [192, 192]} for name in names}


DEEP = b"[" * 200_000
MANY = b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(100_000)) + b"}"
MULTIPLIED = b'{"z":{"dtype":"F32","shape":[' + b",".join([digits(4300)] * 100) + b'],"data_offsets":[0,0]}}'

HOSTILE: dict[str, tuple[Callable[[], Files], str]] = {
    "many layers": (lambda: config(num_hidden_layers=10**9), "num_hidden_layers must be a positive whole number of at"),
    "layers beyond any": (lambda: config(num_hidden_layers=1 << 40), "of at most 1024 and is 1099511627776"),
    "deep config": (lambda: model(config__json=DEEP), "config.json is no JSON that is read"),
    "deep objects": (lambda: model(config__json=b'{"a":' * 200_000), "config.json is no JSON that is read"),
    "deep index": (lambda: model(model__safetensors__index__json=DEEP), "index.json is no JSON that is read"),
    "wide config": (lambda: model(config__json=b'{"x":[' + b"[]," * 300_000 + b"0]}"), "and at most 250000 are read"),
    "digits in config": (lambda: model(config__json=b'{"vocab_size":' + digits(5000) + b"}"), "of 5000 digits"),
    "digits in a shape": (
        lambda: header(with_digits(dtype="F32", shape=["@"], data_offsets=[0, 0])),
        "a whole number of 4300 digits",
    ),
    "digits in an offset": (
        lambda: header(with_digits(dtype="Z", shape=[1], data_offsets=[0, "@"])),
        "a whole number of 4300 digits",
    ),
    "numbers to multiply": (lambda: header(MULTIPLIED), "a whole number of 4300 digits"),
    "many dimensions": (lambda: tensor("model.x", shape=[1] * 5000), "describes model.x wrongly"),
    "a large dimension": (lambda: tensor("model.x", shape=[10**30]), "describes model.x wrongly"),
    "many tensors": (lambda: header(MANY), "elements, and at most 250000 are read"),
    "more tensors than a Llama has": (
        lambda: header(dumped({**HEADER, **empty_tensors([f"t{n}" for n in range(9000)])})),
        "tensors, and no Llama has more than 8192",
    ),
    "a long tensor name": (lambda: tensor("a" * (1 << 20)), "of 1048576 characters: a name has at most 256"),
    "a tensor name of several lines": (lambda: tensor("model.\n\x1b[31mX"), "no control characters"),
    "half a character in a tensor name": (
        lambda: header(dumped(HEADER)[:-1] + b',"\\ud800":{}}'), "no control characters",
    ),
    "a long header": (
        lambda: model(model__safetensors=(2**64 - 1).to_bytes(8, "little") + b"{}"), "begins with a header of",
    ),
    "an index out of the folder": (
        lambda: model(model__safetensors__index__json=dumped({"weight_map": {"x": "../a.safetensors"}})),
        "outside of the folder",
    ),
    "an index with a zero byte": (
        lambda: model(model__safetensors__index__json=b'{"weight_map":{"x":"a\\u0000.safetensors"}}'),
        "files that are not there",
    ),
    "a name of two lines": (lambda: {**model(), "a\nb.json": b"{}"}, "a?b.json, a name with control characters"),
    "a name that is no text": (lambda: {**model(), "\udcff.json": b"{}"}, "a name with control characters"),
    "a long name": (lambda: {**model(), "a" * 251 + ".json": b"{}"}, "more than 255 bytes"),
    "many files": (lambda: {**model(), **{f"{n}.txt": b"" for n in range(10_001)}}, "more than 10000 files"),
    "an architecture that is a list": (lambda: config(architectures=[["LlamaForCausalLM"]]), "names the architecture"),
    "half a character": (lambda: model(config__json=b'{"architectures":["\\ud800"]}'), "names the architecture ?"),
    "a length that is not finite": (lambda: config(rope_scaling={"type": "linear", "factor": float("inf")}), "context"),
    "a long method": (lambda: config(quantization_config={"quant_method": "x" * 100_000}), "has the quant_method xxx"),
    "a deep chat template": (
        lambda: model(tokenizer_config__json=dumped({"chat_template": "x"})[:-1] + b',"a":' + DEEP),
        "tokenizer_config.json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_with_a_sentence(name: str) -> None:
    make, sentence = HOSTILE[name]
    found = report(make())
    assert found.outcome == "refused"
    assert sentence in found.message


SHOWN_HEADS = {
    "merges": "a0: &a0 {k: 1}\n"
    + "\n".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)),
    "aliases": "a0: &a0 [x,x]\n" + "\n".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)),
    "deep": f"tags: {'[' * 60_000}",
    "deep and closed": f"tags: {'[' * 60_000}{']' * 60_000}",
    "an open list of many lines": "tags: [\n" + "\n".join(["a,"] * 60_000),
    "sexagesimal": f"tags: 1{':59' * 20_000}",
    "a date that is none": "date: 2024-99-99",
    "quotes that never close": "tags: [" + '"\\"' * 60_000,
    "quoted texts side by side": "tags: " + "'a'" * 60_000,
    "a tag that runs code": "tags: !!python/object/apply:os.system [id]",
    "spaces before no colon": "a" + " " * 200_000 + "b",
}


@pytest.mark.parametrize("name", SHOWN_HEADS)
def test_a_hostile_head_says_its_license_or_why_not(name: str) -> None:
    """Time and memory grow with the text: aliases, merges and tags are never followed."""
    head = f"license: llama3.1\n{SHOWN_HEADS[name]}"
    found = report(readme(head), license_="llama3.1")
    assert (found.outcome, found.license) == ("accepted", "llama3.1")
    assert read_front_matter(f"---\n{head}\n---\n").values("license") == ["llama3.1"]


def test_many_headers_are_refused_before_they_are_kept() -> None:
    """O2: each file is within its bounds, all of them are not."""
    text = dumped({"t": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}) + b" " * (4 << 20)
    files = {**model(), **{f"model-{n:05}-of-00020.safetensors": safetensors(text, b"") for n in range(1, 21)}}
    del files["model.safetensors"]
    found = report(files)
    assert (found.outcome, found.message) == (
        "refused", "the headers of the weights have more than 64 MiB, those of no model do"
    )  # fmt: skip


def test_small_files_are_bounded_together() -> None:
    files = {**model(), **{f"{n}.json": b"" for n in range(5)}}
    found = report(files, sizes={f"{n}.json": 60 << 20 for n in range(5)})
    assert "small files have" in found.message


def test_a_sparse_file_is_not_read() -> None:
    """A file of any size costs nothing to make; four TiB are more than any Llama has."""
    size = (1 << 44) - 32
    entry = {"dtype": "U8", "shape": [size - 192], "data_offsets": [192, size]}
    text = dumped({**HEADER, "model.norm.bias": entry})
    files = header(text)
    sizes = {"model.safetensors": 8 + len(text) + size}
    source = BytesSource(files, sizes)
    assert asyncio.run(source.list())
    found = report(files, sizes=sizes)
    assert "at most 4398046511104 are read" in found.message


def test_a_manifest_that_fits_no_config_map_is_refused() -> None:
    """126 layers have 1,137 tensors; names of 200 characters and 8,000 tensors are no error of the format."""
    names = [f"model.layers.0.mlp.down_proj.{'x' * 180}{n:05}" for n in range(4000)]
    quantized = {"quant_method": "fp8", "activation_scheme": "dynamic"}
    files = {
        **header(dumped({**HEADER, **empty_tensors(names)})),
        "config.json": dumped({**CONFIG, "quantization_config": quantized}),
    }
    found = report(files)
    assert found.outcome == "refused"
    assert f"a ConfigMap has room for {MANIFEST_LIMIT}" in found.message


def test_the_memory_for_a_hostile_folder_is_bounded() -> None:
    """What is kept is the text, and little beside it."""
    text = dumped({f"{n}-{'a' * (1 << 20)}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(7)})
    files = {**model(), **{f"model-{n:05}-of-00004.safetensors": safetensors(text, b"") for n in range(1, 5)}}
    del files["model.safetensors"]
    tracemalloc.start()
    try:
        found = report(files)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.outcome == "refused"
    assert peak < 160 << 20


def test_a_list_of_licenses_leaves_room_in_the_report() -> None:
    found = report(readme(f"license: [{', '.join(f'license-{n}' for n in range(5000))}]"))
    assert found.license == "license-0, license-1, license-2, license-3, license-4 and 4995 more"


@pytest.mark.parametrize(
    ("layer", "kept"),
    [
        (
            {"digest": f"sha256:{'0' * 64}", "size": 1, "annotations": {"org.opencontainers.image.title": "a.json"}},
            True,
        ),
        (
            {"digest": f"sha256:{'0' * 64}", "size": -1, "annotations": {"org.opencontainers.image.title": "a.json"}},
            False,
        ),
        ({"digest": f"sha256:{'0' * 64}", "size": 1, "annotations": {"org.opencontainers.image.title": "a\nb"}}, False),
        ({"digest": f"sha256:{'0' * 64}", "size": 1, "annotations": ["x"]}, False),
        ({"digest": 3, "size": 1}, False),
        ("x", False),
    ],
)
def test_layers_of_an_artifact(layer: object, kept: bool) -> None:
    assert bool(listed_files({"layers": [layer]})) is kept
    assert listed_files({"layers": 5}) == ()


def test_sums_name_plain_files_only() -> None:
    digest = "ab" * 32
    assert parse_sums(f"{digest}  a.json\n{digest}  ..\n{digest}  a\x1b[31m.json\n") == {"a.json": digest}


GOLDEN = "sha256:a67a45260d47e32daf052083728df42a21e126dcc3bfe607d5e614ad3ba2911b"


def test_ordinary_names_keep_their_digest() -> None:
    """Golden: another digest would be other weights, and would restart every model."""
    files = tuple(
        ManifestFile(path=path, size=size, sha256=f"{size:064x}")
        for path, size in (("config.json", 1), ("model-00001-of-00002.safetensors", 2), ("ü b.json", 3))
    )
    assert Manifest(files=files).digest == GOLDEN
    assert Manifest(files=files[::-1]).digest == GOLDEN


@pytest.mark.parametrize("path", ["a\nb", "a\rb", "\x00", "a\x7f", "a\x9b", "a\u2028b", ""])
def test_a_manifest_names_no_file_of_several_lines(path: str) -> None:
    """The lines of two lists of files could be the same; so the digest could."""
    with pytest.raises(ValueError, match="path"):
        ManifestFile(path=path, size=1, sha256="0" * 64)


def test_an_adapter_of_a_layer_that_no_llama_has_is_refused() -> None:
    far = {name.replace("layers.0", "layers.99999"): entry for name, entry in ADAPTER_HEADER.items()}
    files = adapter(adapter_model__safetensors=safetensors(dumped(far), bytes(64)))
    assert "has a matrix of layer 99999" in report(files, adapter=True).message


def test_whole_folders_are_accepted() -> None:
    """The worlds of these tests are refused for what is hostile in them, and for nothing else."""
    assert resolved(model()).manifest is not None
    assert resolved(adapter(), adapter=True).manifest is not None
    assert json.loads(dumped(CONFIG)) == CONFIG
