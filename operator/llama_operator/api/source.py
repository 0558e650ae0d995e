"""Where a model's folder is, written as one URI. This version serves folders of a PersistentVolumeClaim:

``pvc://claim`` and ``pvc://claim/path``. The other schemes are known, so that they can be refused with what to do
instead; they come with LlamaWeights.
"""

from dataclasses import dataclass
from typing import Final

from llama_operator.api.patterns import DNS_SUBDOMAIN, matches
from llama_operator.api.rules import Rule, one_of

SERVED: Final = ("pvc",)
KNOWN: Final = ("pvc", "hf", "s3", "gs", "az", "http", "https", "oci")

# Names of revisions that point to something else tomorrow.
MOVING: Final = (
    "main", "master", "trunk", "latest", "head", "tip", "dev", "devel", "develop", "development",
    "stable", "nightly", "edge", "current", "default", "release", "next", "canary",
)  # fmt: skip

_SCHEME = "self.split('://', 2)[0]"
_HAS_SCHEME = "self.contains('://')"
_PATH = r"(/[A-Za-z0-9_+@=.-]+)*/?"
_IS_PVC = "self.startsWith('pvc://')"
_SEGMENTS = "self.split('/')"

SOURCE_RULES: Final = (
    Rule(
        f"{_HAS_SCHEME} && {_SCHEME} in {one_of(KNOWN)}",
        "model.source must start with a known scheme (" + ", ".join(f"{name}://" for name in KNOWN) + "): "
        "name a PersistentVolumeClaim and the folder in it, such as pvc://llama/llama-3.1-8b",
    ),
    Rule(
        f"!({_HAS_SCHEME} && {_SCHEME} in {one_of(tuple(name for name in KNOWN if name not in SERVED))})",
        "model.source can only be pvc:// in this version, the other schemes come with LlamaWeights: "
        "copy the model's folder into a PersistentVolumeClaim and name it, such as pvc://llama/llama-3.1-8b",
    ),
    Rule(
        f"!{_IS_PVC} || {matches(f'pvc://{DNS_SUBDOMAIN}(/.*)?')}",
        "model.source must name a PersistentVolumeClaim after pvc:// (lower-case letters, digits, '-' and '.'), "
        "such as pvc://llama/llama-3.1-8b",
    ),
    Rule(
        f"!{_IS_PVC} || {matches(f'pvc://[^/]*{_PATH}')} && !{_SEGMENTS}.exists(part, part == '.' || part == '..')",
        "model.source must go on with a plain path after the claim: letters, digits and _+@=.- between single "
        "slashes, without '.' or '..' as a folder",
    ),
)


@dataclass(frozen=True)
class PvcSource:
    """A folder of a PersistentVolumeClaim in the deployment's namespace."""

    claim: str
    path: str  # relative to the volume's root, without slashes at its ends; "" is the root


def parse_source(source: str) -> PvcSource:
    """Claim and path of a source that the CRD's rules have admitted.

    Raises:
        ValueError: the scheme is not served or a part is missing, as in an object stored under an older CRD.
    """
    scheme, _, rest = source.partition("://")
    claim, _, path = rest.partition("/")
    if scheme not in SERVED or not claim:
        raise ValueError(f"{source!r} is no source that this version serves; pvc://claim/path is")
    parts = [part for part in path.split("/") if part]
    if ".." in parts or "." in parts:
        raise ValueError(f"{source!r} leaves its folder: '.' and '..' are not allowed in the path")
    return PvcSource(claim, "/".join(parts))
