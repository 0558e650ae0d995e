"""What a grammar costs: ``python -m benchmarks.structured MODEL`` with the serving environment.

MODEL is a folder with a tokenizer. Each schema is read and compiled in a process of its own, forked when the tokenizer
is ready, which the kernel ends after ``LIMIT`` seconds of CPU. ``read`` is what vLLM does on the event loop of the
replica, ``compile`` what it does in a pool beside the engine core. ``refused`` says which of them a replica lets come
to that. CPU seconds of all threads, so other work on the cores counts for little.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from llama_serving.cell.replica.structured.limits import BadSchemaError
from llama_serving.cell.replica.structured.schema import check_schema

LIMIT = 30  # seconds of CPU
MEMORY = 12 << 30  # bytes of address space


def properties(count: int, *, required: bool) -> dict[str, Any]:
    """Return an object of so many texts."""
    names = {f"field_{number}": {"type": "string"} for number in range(count)}
    return {"type": "object", "properties": names, "required": [*names] if required else []}


def nested(depth: int) -> dict[str, Any]:
    """Return objects within one another."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def tree() -> dict[str, Any]:
    """Return nodes with any number of nodes below each."""
    node = {"type": "object", "properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
    return {"$ref": "#/$defs/node", "$defs": {"node": node}}


SCHEMAS: dict[str, dict[str, Any]] = {
    **{f"{count} required properties": properties(count, required=True) for count in (10, 100, 500, 1000)},
    **{f"{count} optional properties": properties(count, required=False) for count in (10, 100, 150, 1000)},
    **{f"{depth} levels": nested(depth) for depth in (10, 30, 60)},
    **{f"{count} enum values": {"enum": [f"value {n}" for n in range(count)]} for count in (100, 1000, 10_000)},
    **{f"{count} characters at most": {"type": "string", "maxLength": count} for count in (100, 1000, 100_000)},
    **{f"{count} items at least": {"type": "array", "minItems": count} for count in (100, 1000, 10_000)},
    "a tree": tree(),
    "a pattern": {"type": "string", "pattern": "^[a-z]{3}-[0-9]{4}$"},
    "a pattern of 1000 parts": {"type": "string", "pattern": "^[a-z]{1,1000}$"},
    "a pattern of 90000 parts": {"type": "string", "pattern": "^([a-z]{1,300}){1,300}$"},
    "nested repetitions": {"type": "string", "pattern": "^(a+)+b$"},
}


def timed(work: Callable[[], Any]) -> str:
    """Return the CPU milliseconds of ``work``, or how it failed."""
    began = time.process_time()
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__} after {time.process_time() - began:.2f}"
    return f"{1000 * (time.process_time() - began):.1f}"


def measure(name: str, schema: dict[str, Any], compiler: Any) -> None:
    """Print one row, in this process: the kernel may end it before the row is whole."""
    import xgrammar

    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    text = json.dumps(schema)
    print(f"| {name} | {len(text)} | {refusal(schema)} | ", end="", flush=True)
    print(timed(lambda: xgrammar.Grammar.from_json_schema(text)), end=" | ", flush=True)
    print(timed(lambda: compiler.compile_json_schema(text)), end="", flush=True)


def refusal(schema: dict[str, Any]) -> str:
    """Return whether a replica refuses the schema."""
    try:
        check_schema(schema, "schema")
    except BadSchemaError:
        return "yes"
    return "no"


def main() -> None:
    """Print the table."""
    import xgrammar
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder with a tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(parser.parse_args().model)
    information = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = xgrammar.GrammarCompiler(information, max_threads=8)  # as vLLM makes it
    print(f"{len(tokenizer)} tokens, {os.cpu_count()} cores\n")
    print("| schema | bytes | refused | read, CPU ms | compile, CPU ms |\n|---|---|---|---|---|", flush=True)
    for name, schema in SCHEMAS.items():
        child = os.fork()
        if child == 0:
            measure(name, schema, compiler)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f" ended by signal {os.WTERMSIG(status)} |" if os.WIFSIGNALED(status) else " |", flush=True)


if __name__ == "__main__":
    main()
