"""Fuzzed files of models: whatever they hold, the resolver ends with a report, and never with a traceback.

``make unit`` tries a few examples, ``make soak`` ten minutes of each. What was found lies in ``corpus/``: a file for
each, named after the kind that it is of, tried first.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_serving.common.file_names import is_plain_name
from llama_serving.weights.resolve.license import find_license
from llama_serving.weights.source.oci_manifest import entries_of, kinds_of, listed_files, read_oci_manifest
from llama_serving.weights.source.sums import parse_sums
from tests.soak import SOAK
from tests.unit.weights.hostile.strategies import READMES, SUMS, damaged, json_files
from tests.unit.weights.hostile.worlds import (
    ADAPTER_CONFIG,
    ADAPTER_HEADER,
    CONFIG,
    DATA,
    HEADER,
    INDEX,
    adapter,
    dumped,
    model,
    report,
    safetensors,
)

CORPUS = Path(__file__).parent / "corpus"
SOAK_S = 600.0
ROUND = 500  # examples between two looks at the clock
OCI: dict[str, Any] = {
    "layers": [
        {
            "mediaType": "application/vnd.oci.image.layer.v1", "digest": f"sha256:{'0' * 64}", "size": 1,
            "annotations": {"org.opencontainers.image.title": "a.json"},
        }
    ],
    "manifests": [{"digest": f"sha256:{'0' * 64}"}],
}  # fmt: skip
TOKENIZER = {
    "chat_template": "{{ tools }}",
    "added_tokens_decoder": {"0": {"content": "<think>"}},
    "extra_special_tokens": [],
}


QUANTIZATION = {"quantization": {"quant_algo": "FP8"}, "producer": {"name": "modelopt"}}


def check_config(content: bytes) -> None:
    report(model(config__json=content))


def check_header(content: bytes) -> None:
    report(model(model__safetensors=safetensors(content)))


def check_safetensors(content: bytes) -> None:
    report(model(model__safetensors=content))


def check_index(content: bytes) -> None:
    report(model(model__safetensors__index__json=content))


def check_tokenizer(content: bytes) -> None:
    report(model(tokenizer_config__json=content, added_tokens__json=content))


def check_quantization(content: bytes) -> None:
    report(model(hf_quant_config__json=content))


def check_readme(content: bytes) -> None:
    found = find_license({"README.md": content})
    assert found.fault.isprintable()
    assert all(name.isprintable() for name in found.names)
    report(model(README__md=content), license_="mit")


def check_sums(content: bytes) -> None:
    assert all(map(is_plain_name, parse_sums(content.decode("utf-8", "replace"))))


def check_oci(content: bytes) -> None:
    try:
        manifest = read_oci_manifest(content)
    except ValueError:
        return  # said to the user by the source
    entries_of(manifest)
    assert all(kind.isprintable() for kind in kinds_of(manifest)[1])
    assert all(is_plain_name(file.path) and file.size >= 0 for file in listed_files(manifest))


def check_adapter_config(content: bytes) -> None:
    report(adapter(adapter_config__json=content), adapter=True)


def check_adapter_header(content: bytes) -> None:
    report(adapter(adapter_model__safetensors=safetensors(content, bytes(64))), adapter=True)


def check_adapter_tokens(content: bytes) -> None:
    report(adapter(added_tokens__json=content, tokenizer_config__json=content), adapter=True)


Check = Callable[[bytes], None]
KINDS: dict[str, tuple[Check, st.SearchStrategy[bytes]]] = {
    "config": (check_config, json_files(CONFIG)),
    "header": (check_header, json_files(HEADER)),
    "safetensors": (check_safetensors, damaged(safetensors(dumped(HEADER), DATA))),
    "index": (check_index, json_files(INDEX)),
    "tokenizer": (check_tokenizer, json_files(TOKENIZER)),
    "quantization": (check_quantization, json_files(QUANTIZATION)),
    "readme": (check_readme, READMES.map(lambda text: text.encode("utf-8", "replace"))),
    "sums": (check_sums, SUMS.map(lambda text: text.encode("utf-8", "replace"))),
    "oci": (check_oci, json_files(OCI)),
    "adapter-config": (check_adapter_config, json_files(ADAPTER_CONFIG)),
    "adapter-header": (check_adapter_header, json_files(ADAPTER_HEADER)),
    "adapter-tokens": (check_adapter_tokens, json_files({"added_tokens_decoder": {"3": {"content": "x"}}, "<a>": 3})),
}  # fmt: skip


def examples(kind: str, number: int) -> None:
    """Try so many examples of one kind."""
    check, strategy = KINDS[kind]

    @settings(max_examples=number, suppress_health_check=list(HealthCheck), database=None)
    @given(strategy)
    def tried(content: bytes) -> None:
        check(content)

    tried()


@pytest.mark.timeout(SOAK_S + 600 if SOAK else 120)
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_files_end_in_a_report(kind: str) -> None:
    end = time.monotonic() + (SOAK_S if SOAK else 0)
    examples(kind, ROUND if SOAK else 25)
    while time.monotonic() < end:
        examples(kind, ROUND)


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    """The kind is the first word of the name, up to two dashes."""
    KINDS[path.name.partition("--")[0]][0](path.read_bytes())
