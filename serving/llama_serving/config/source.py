"""Where a model's folder is, written as one URI: ``scheme://place/path``, for the operator and for serving.

``KINDS`` is the list of all schemes. A new one is an entry here and a module in ``weights/source``, which its factory
opens: the CRDs' rules, their descriptions and every check below follow. In a path ``{revision}`` stands for the
revision; a repository of ``hf`` or ``oci`` has its revisions inside.
"""

from dataclasses import dataclass
from typing import Final

from llama_serving.config.names import DNS_SUBDOMAIN

PLACEHOLDER: Final = "{revision}"

_PLAIN: Final = "[A-Za-z0-9_+@=.~-]+"
_BUCKET: Final = "[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
_CONTAINER: Final = "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
_HOST: Final = f"({DNS_SUBDOMAIN}|[[][0-9a-f:.]+[]])(:[0-9]+)?"
_HUB_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]*"
_OCI_PART: Final = "[a-z0-9]+([._-]+[a-z0-9]+)*"


@dataclass(frozen=True)
class SourceKind:
    """Schemes whose URIs have one form."""

    schemes: tuple[str, ...]
    shown: tuple[str, ...]  # as the fields' descriptions show it
    form: str  # RE2 of what stands behind ``://``
    expected: str  # end of the sentence against another form
    mounted: bool = False  # a volume of the pod: nothing is downloaded
    versioned: bool = False  # has revisions of its own, so it knows what a moving name means today


KINDS: Final = (
    SourceKind(
        ("pvc",),
        ("pvc://claim/path",),
        f"{DNS_SUBDOMAIN}(/.*)?",
        "must name a PersistentVolumeClaim after pvc:// (lower-case letters, digits, '-' and '.'), "
        "such as pvc://llama/llama-3.1-8b",
        mounted=True,
    ),
    SourceKind(
        ("hf",),
        ("hf://owner/repository",),
        f"{_HUB_NAME}/{_HUB_NAME}(/{_PLAIN})*/?",
        "must be an owner and a repository after hf://, such as hf://meta-llama/Llama-3.1-8B-Instruct, "
        "and may go on with a folder; the commit goes into revision",
        versioned=True,
    ),
    SourceKind(
        ("s3", "gs"),
        ("s3://bucket/path", "gs://bucket/path"),
        f"{_BUCKET}(/.*)?",
        "must name a bucket (3 to 63 lower-case letters, digits, '-', '_' and '.'), such as s3://models/llama-3.1-8b",
    ),
    SourceKind(
        ("az",),
        ("az://account/container/path",),
        f"[a-z0-9]{{3,24}}/{_CONTAINER}(/.*)?",
        "must name a storage account and a container after az://, such as az://company/models/llama-3.1-8b",
    ),
    SourceKind(
        ("http", "https"),
        ("http(s)://host/path",),
        f"{_HOST}(/.*)?",
        "must name a host after http(s)://, such as https://models.example.com/llama-3.1-8b",
    ),
    SourceKind(
        ("oci",),
        ("oci://registry/repository",),
        f"{_HOST}(/{_OCI_PART})+",
        "must be a registry and a repository after oci://, such as oci://registry.example.com/llama/llama-3.1-8b; "
        "the tag or digest goes into revision",
        versioned=True,
    ),
)
SCHEMES: Final = tuple(scheme for kind in KINDS for scheme in kind.schemes)
MOUNTED: Final = tuple(scheme for kind in KINDS if kind.mounted for scheme in kind.schemes)
VERSIONED: Final = tuple(scheme for kind in KINDS if kind.versioned for scheme in kind.schemes)


@dataclass(frozen=True)
class Address:
    """The parts of a source's URI."""

    scheme: str  # lower case
    host: str  # claim, bucket, account, registry or host with port; the first part of an hf:// repository
    path: str  # without slashes around it

    @property
    def uri(self) -> str:
        """The URI in its plain form."""
        return f"{self.scheme}://{self.host}/{self.path}".rstrip("/")


def split(uri: str) -> Address:
    """Return the parts of ``uri``, unchecked; what is absent is empty."""
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    return Address(scheme.lower(), host, path.strip("/"))


def parse(uri: str) -> Address:
    """Return the parts of ``uri``. Raises ValueError when it is no URI with a host, or climbs with ``..``."""
    address = split(uri)
    if not address.scheme or not address.host:
        raise ValueError(f"{uri!r} is no source: it must be scheme://place/path, such as s3://models/llama-3.1-8b")
    if any(part in {".", ".."} for part in address.path.split("/")):
        raise ValueError(f"{uri!r} climbs with '..': name the folder itself")
    return address


def fill(uri: str, revision: str) -> str:
    """Return ``uri`` with its placeholder replaced. Raises ValueError when it has one and there is no revision."""
    if PLACEHOLDER in uri and not revision:
        raise ValueError(f"{uri} has {PLACEHOLDER} and model.revision is empty: name the revision")
    return uri.replace(PLACEHOLDER, revision)


def is_mounted(uri: str) -> bool:
    """Whether the folder is served where it lies, in a volume of the pod; all others are brought into the pod."""
    return split(uri).scheme in MOUNTED


def place(uri: str) -> str:
    """Return what credentials for ``uri`` are bound to: scheme and host, and the bucket or the repository.

    ``https://host:port``, ``s3://bucket``, ``az://account/container``, ``hf://owner/name``, ``oci://registry/repository``.
    """
    address = split(uri)
    parts = address.path.split("/")
    match address.scheme:
        case "hf" | "az":
            inside = f"/{parts[0]}"
        case "oci":
            inside = f"/{address.path}"
        case _:
            inside = ""
    return f"{address.scheme}://{address.host.lower() if address.scheme in _WEB else address.host}{inside}"


_WEB: Final = ("http", "https", "oci")  # whose hosts are DNS names
