"""Where a model's folder is, written as one URI, and the names of revisions.

``pvc://claim/path`` lies in a claim of the same namespace and is served where it lies. All others are brought into the
stage pods: ``hf://owner/repository``, ``s3://bucket/path``, ``gs://bucket/path``, ``az://account/container/path``,
``http(s)://host/path``, ``oci://registry/repository``. In a path ``{revision}`` stands for the revision; a repository
of ``hf`` or ``oci`` has its revisions inside.
"""

from dataclasses import dataclass
from typing import Final

from llama_operator.api.crdgen.patterns import DNS_SUBDOMAIN, matches
from llama_operator.api.crdgen.rules import Rule, one_of

KNOWN: Final = ("pvc", "hf", "s3", "gs", "az", "http", "https", "oci")
PLACEHOLDER: Final = "{revision}"

# Sources that have revisions of their own, and so know what a moving name means today.
VERSIONED: Final = ("hf", "oci")

# Names of revisions that point to something else tomorrow.
MOVING: Final = (
    "main", "master", "trunk", "latest", "head", "tip", "dev", "devel", "develop", "development",
    "stable", "nightly", "edge", "current", "default", "release", "next", "canary",
)  # fmt: skip

_SCHEME = "self.split('://', 2)[0]"
_HAS_SCHEME = "self.contains('://')"
_PLAIN = "[A-Za-z0-9_+@=.~-]+"
_FOLDER = "([A-Za-z0-9_+@=.~-]|[{]revision[}])+"
_PATH = f"(/{_FOLDER})*/?"
_BUCKET = "[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
_CONTAINER = "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
_HOST = f"({DNS_SUBDOMAIN}|[[][0-9a-f:.]+[]])(:[0-9]+)?"
_HUB_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
_OCI_PART = "[a-z0-9]+([._-]+[a-z0-9]+)*"


def is_moving(subject: str = "self") -> str:
    """CEL: the revision ``subject`` points to something else tomorrow."""
    branch = f"{subject}.matches('^(refs/)?(heads|remotes|pr|pull)/|^origin/')"
    return f"({subject}.lowerAscii() in {one_of(MOVING)} || {branch})"


def source_rules(field: str) -> tuple[Rule, ...]:
    """The rules of a source; ``field`` is what the user calls it."""
    return (
        Rule(
            f"{_HAS_SCHEME} && {_SCHEME} in {one_of(KNOWN)}",
            f"{field} must start with a known scheme (" + ", ".join(f"{name}://" for name in KNOWN) + "): "
            "name a PersistentVolumeClaim and the folder in it, such as pvc://llama/llama-3.1-8b, or where else the "
            "folder is",
        ),
        Rule(
            "!self.matches('^[a-z0-9]+://[^/]*@')",
            f"{field} must not contain credentials (user:password@): put them into a Secret and name it in "
            "credentialsSecret",
        ),
        _form(
            ("pvc",),
            f"{DNS_SUBDOMAIN}(/.*)?",
            f"{field} must name a PersistentVolumeClaim after pvc:// (lower-case letters, digits, '-' and '.'), "
            "such as pvc://llama/llama-3.1-8b",
        ),
        _form(
            ("hf",),
            f"{_HUB_NAME}/{_HUB_NAME}(/{_PLAIN})*/?",
            f"{field} must be an owner and a repository after hf://, such as hf://meta-llama/Llama-3.1-8B-Instruct, "
            "and may go on with a folder; the commit goes into revision",
        ),
        _form(
            ("s3", "gs"),
            f"{_BUCKET}(/.*)?",
            f"{field} must name a bucket (3 to 63 lower-case letters, digits, '-', '_' and '.'), "
            "such as s3://models/llama-3.1-8b",
        ),
        _form(
            ("az",),
            f"[a-z0-9]{{3,24}}/{_CONTAINER}(/.*)?",
            f"{field} must name a storage account and a container after az://, such as az://company/models/llama-3.1-8b",
        ),
        _form(
            ("http", "https"),
            f"{_HOST}(/.*)?",
            f"{field} must name a host after http(s)://, such as https://models.example.com/llama-3.1-8b",
        ),
        _form(
            ("oci",),
            f"{_HOST}(/{_OCI_PART})+",
            f"{field} must be a registry and a repository after oci://, such as "
            "oci://registry.example.com/llama/llama-3.1-8b; the tag or digest goes into revision",
        ),
        Rule(
            f"{matches(f'[a-z0-9]+://[^/]*{_PATH}')} && !self.split('/').exists(part, part == '.' || part == '..')",
            f"{field} must go on with a plain path: letters, digits and _+@=.~- between single slashes, without '.' or "
            "'..' as a folder; {revision} stands for the revision, except with hf:// and oci://",
        ),
    )


def _of(schemes: tuple[str, ...]) -> str:
    return f"({_HAS_SCHEME} && {_SCHEME} in {one_of(schemes)})"


def _form(schemes: tuple[str, ...], pattern: str, message: str) -> Rule:
    """Sources of these schemes have this form behind ``://``; a user name in front of a host has its own rule."""
    return Rule(f"!{_of(schemes)} || {matches(f'[a-z0-9]+://([^/]*@)?{pattern}')}", message)


@dataclass(frozen=True)
class PvcSource:
    """A folder of a PersistentVolumeClaim in the deployment's namespace."""

    claim: str
    path: str  # relative to the volume's root, without slashes at its ends; "" is the root


def scheme_of(source: str) -> str:
    """The part before ``://``."""
    return source.partition("://")[0]


def is_remote(source: str) -> bool:
    """Whether the folder has to be brought into a pod; one in a claim is mounted."""
    return scheme_of(source) != "pvc"


def filled(source: str, revision: str) -> str:
    """The source of this revision."""
    return source.replace(PLACEHOLDER, revision)


def parse_source(source: str) -> PvcSource:
    """Claim and path of a filled pvc:// source that the CRD's rules have admitted.

    Raises:
        ValueError: it has another scheme or lacks a part, as in an object stored under an older CRD.
    """
    scheme, _, rest = source.partition("://")
    claim, _, path = rest.partition("/")
    if scheme != "pvc" or not claim:
        raise ValueError(f"{source!r} is no folder of a claim; pvc://claim/path is")
    parts = [part for part in path.split("/") if part]
    if ".." in parts or "." in parts:
        raise ValueError(f"{source!r} leaves its folder: '.' and '..' are not allowed in the path")
    return PvcSource(claim, "/".join(parts))
