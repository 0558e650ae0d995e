"""Which attention vLLM computes with, for each type of GPU and each type of its cache of keys and values.

Arguments: the file that the paper driver reads, and one with a JSON list of {"name", "capability", "caches"}. vLLM is
imported once; each type of GPU gets a process that has not asked the driver before. Prints a line of JSON for each.
"""

import json
import os
import sys
from pathlib import Path

import torch
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.platforms import current_platform
from vllm.v1.attention.selector import get_attn_backend

HEAD = 128  # numbers of a head of Llama 3.1


def chosen(cache: str) -> str:
    config = VllmConfig()
    config.cache_config.cache_dtype = cache
    with set_current_vllm_config(config):
        return str(get_attn_backend(HEAD, torch.bfloat16, cache).get_name())


def ask(gpu: dict[str, object], caches: list[str]) -> None:
    assert current_platform.get_device_name() == gpu["name"]
    print("ATTENTION " + json.dumps({"gpu": gpu["name"], "by_cache": {one: chosen(one) for one in caches}}), flush=True)


for gpu in json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")):
    lines = f"count 1\nname {gpu['name']}\ncapability {gpu['capability']}\n"
    Path(sys.argv[1]).write_text(lines, encoding="ascii")
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, gpu
    else:
        ask(gpu, gpu["caches"])
        os._exit(0)
