"""What a rehearsal says with the real vLLM: the default of a deployment is accepted, what vLLM refuses is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_serving.config import names
from llama_serving.config.cell import CellConfig, Layout, WeightsRef

pytestmark = pytest.mark.serving

MODEL: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 256,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
    "rms_norm_eps": 1e-5,
}

#: What is changed in the cell's config or in the model's, and what the sentence must have; empty: accepted.
CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {}, ""),
    ({"layout": {"pipeline": 1, "tensor": 1, "device": "cpu"}, "stage_hosts": ("a",)}, {}, ""),
    ({"engine_options": {"block_size": 32, "enable_prefix_caching": False}}, {}, ""),
    ({"context_length": 4096}, {}, "4096"),
    ({"max_num_seqs": 4096}, {}, ""),  # a server's batch has 2048 tokens a rank
    (
        {"max_num_seqs": 4096, "layout": {"pipeline": 1, "tensor": 1, "device": "cpu"}, "stage_hosts": ("a",)},
        {},
        "max_num_batched_tokens (2048) must be greater than or equal to max_num_seqs (4096)",
    ),
    (
        {"engine_options": {"long_prefill_token_threshold": 4096}},
        {},
        "long_prefill_token_threshold (4096) cannot be greater than the max_model_len (1024)",
    ),
    ({"engine_options": {"quantization": "modelopt"}}, {}, "modelopt"),
    ({"engine_options": {"kv_cache_dtype": "int3"}}, {}, "CacheConfig: Input should be 'auto'"),
    ({"engine_options": {"no_such_option": 1}}, {}, "no_such_option"),
    ({"layout": {"pipeline": 2, "tensor": 3, "device": "cpu"}}, {}, "divisible"),
    ({"dtype": "float13"}, {}, "ModelConfig: Input should be 'auto'"),
    ({}, {"quantization_config": {"quant_method": "exl2"}}, "exl2"),
    ({}, {"architectures": ["MixtralForCausalLM"]}, "LlamaForCausalLM"),
]

#: All cases in one process, since the import of vLLM takes 15 s.
SCRIPT = """
import json, sys
from pathlib import Path
from llama_serving.cell.rehearsal import configure_vllm, rehearse
folders = [Path(line) for line in sys.argv[1:]]
said = [rehearse(folder / "cell.json", folder, configure=configure_vllm) for folder in folders]
Path(folders[0] / "said.json").write_text(json.dumps(said))
"""


def cell(**changes: Any) -> CellConfig:
    begin = CellConfig(
        deployment="chat",
        namespace="team",
        group=0,
        pod_hash="12345678",
        stage_hosts=("stage-0.chat", "stage-1.chat"),
        weights=WeightsRef(path="/weights/1", id="v1@1", served_name="chat"),
        layout=Layout(pipeline=2, tensor=1, device="cpu"),
        context_length=1024,
        max_num_seqs=8,
    )
    return CellConfig.model_validate(begin.model_dump() | changes)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folders = []
    for config, model, _ in CASES:
        folder = tmp_path_factory.mktemp("case")
        (folder / "cell.json").write_text(json.dumps(cell(**config).to_wire()))
        (folder / "config.json").write_text(json.dumps(MODEL | model))
        folders.append(folder)
    command = [sys.executable, "-c", SCRIPT, *map(str, folders)]
    found = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False, timeout=110)
    assert found.returncode == 0, found.stderr[-2000:]
    answers: list[str] = json.loads(Path(folders[0] / "said.json").read_text())
    return answers


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_engine_decides(number: int, said: list[str]) -> None:
    words = CASES[number][2]
    if not words:
        assert said[number] == ""
    else:
        assert words in said[number]
        assert "\n" not in said[number]


def test_the_container_ends_with_the_verdict(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    (tmp_path / "cell.json").write_text(json.dumps(cell().to_wire()))
    (tmp_path / "config.json").write_text("{}")
    options = ["--config", str(tmp_path / "cell.json"), "--model", str(tmp_path), "--termination-log", str(log)]
    command = [sys.executable, "-m", "llama_serving.cell.rehearsal", *options]
    found = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False, timeout=60)
    assert found.returncode == names.EXIT_REFUSED, found.stderr[-2000:]
    assert "only LlamaForCausalLM is served" in log.read_text()
