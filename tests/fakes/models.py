"""Weights that exist only as a name: what a source holds, and how its weights behave when they are served."""

import base64
import gzip
import hashlib
from dataclasses import dataclass

from llama_operator.api import ModelSpec, content_of
from llama_operator.observe.deployment import WeightsView
from llama_operator.plan.naming import weights_id, weights_name
from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.model import ModelFacts
from llama_serving.config.weights import Manifest, ManifestFile

FACTS = ModelFacts(
    architecture="LlamaForCausalLM",
    layers=30,
    hidden_size=576,
    heads=9,
    kv_heads=3,
    head_dim=64,
    vocabulary=49152,
    max_context=8192,
    dtype="bfloat16",
    files=4,
    bytes=269_000_000,
)
SOURCE = "pvc://models/m"


@dataclass
class Behaviour:
    """What is wrong with some weights; nothing, unless said."""

    refused: tuple[str, str] | None = None  # reason and message of the resolver
    staging: tuple[str, str] | None = None  # reason and message of the stager
    swap: str = ""  # message of the exchange that fails
    starts: bool = True
    golden: bool = True  # golden prompts pass
    tools: bool = True  # it calls functions; without, as with a broken chat template, it answers with text
    logprob: float = -3.5
    thai: float = -3.5  # the same of the built-in text in Thai
    error: str = ""  # why it cannot be measured
    slow: bool = False  # the first byte comes late
    failing: bool = False  # half of its requests fail
    facts: ModelFacts = FACTS
    chat: ChatFacts | None = None  # what chat template and tokenizer say; None: an older resolver


def manifest_of(source: str, revision: str) -> Manifest:
    """One file whose content is the name of the weights."""
    sha = hashlib.sha256(f"{source} {revision}".encode()).hexdigest()
    return Manifest(files=(ManifestFile(path="model.safetensors", size=1000, sha256=sha),))


def digest_of(revision: str, source: str = SOURCE) -> str:
    """Digest of these weights."""
    return manifest_of(source, revision).digest


def id_of(revision: str, source: str = SOURCE) -> str:
    """Id of these weights, as in the header and in the status."""
    return weights_id(revision, digest_of(revision, source))


def packed(manifest: Manifest) -> str:
    """As it lies in a ConfigMap."""
    return base64.b64encode(gzip.compress(manifest.model_dump_json().encode(), mtime=0)).decode()


def view_of(model: ModelSpec, *owners: str, **fields: object) -> WeightsView:
    """The LlamaWeights of a model, ready and ours unless told otherwise."""
    manifest = manifest_of(model.source, model.revision)
    found: dict[str, object] = {
        "name": weights_name(model), "source": model.source, "revision": model.revision, "resolved": model.revision,
        "ready": True, "digest": manifest.digest, "facts": FACTS, "manifest": manifest, "reason": "Accepted",
        "message": "", "refused": False, "uid": f"uid-{weights_name(model)}", "owners": frozenset(owners),
        "ours": True, "content": content_of(model),
    }  # fmt: skip
    return WeightsView(**found | fields)  # type: ignore[arg-type]
