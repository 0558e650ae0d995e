"""CEL rules of a model's source and of moving revisions; ``llama_serving.config.source`` has the schemes."""

from typing import Final

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.rules import Rule, one_of
from llama_serving.config.source import KINDS, SCHEMES, SourceKind

# Names of revisions that point to something else tomorrow.
MOVING: Final = (
    "main", "master", "trunk", "latest", "head", "tip", "dev", "devel", "develop", "development",
    "stable", "nightly", "edge", "current", "default", "release", "next", "canary",
)  # fmt: skip

_SCHEME: Final = "self.split('://', 2)[0]"
_HAS_SCHEME: Final = "self.contains('://')"
_FOLDER: Final = "([A-Za-z0-9_+@=.~-]|[{]revision[}])+"
_PATH: Final = f"(/{_FOLDER})*/?"


def is_moving(subject: str = "self") -> str:
    """Return the CEL check that the revision ``subject`` points to something else tomorrow."""
    branch = f"{subject}.matches('^(refs/)?(heads|remotes|pr|pull)/|^origin/')"
    return f"({subject}.lowerAscii() in {one_of(MOVING)} || {branch})"


def source_rules(field: str) -> tuple[Rule, ...]:
    """Return the rules of a source; ``field`` is what the user calls it."""
    return (
        Rule(
            f"{_HAS_SCHEME} && {_SCHEME} in {one_of(SCHEMES)}",
            f"{field} must start with a known scheme (" + ", ".join(f"{name}://" for name in SCHEMES) + "): "
            "name a PersistentVolumeClaim and the folder in it, such as pvc://llama/llama-3.1-8b, or where else the "
            "folder is",
        ),
        Rule(
            "!self.matches('^[a-z0-9]+://[^/]*@')",
            f"{field} must not contain credentials (user:password@): put them into a Secret and name it in "
            "credentialsSecret",
        ),
        *(_form(field, kind) for kind in KINDS),
        Rule(
            f"{matches(f'[a-z0-9]+://[^/]*{_PATH}')} && !self.split('/').exists(part, part == '.' || part == '..')",
            f"{field} must go on with a plain path: letters, digits and _+@=.~- between single slashes, without '.' or "
            "'..' as a folder; {revision} stands for the revision, except with hf:// and oci://",
        ),
    )


def source_forms() -> str:
    """Return the forms of all sources that are brought into the pods, for a description."""
    return ", ".join(form for kind in KINDS if not kind.mounted for form in kind.shown)


def _form(field: str, kind: SourceKind) -> Rule:
    """Return that sources of these schemes have this form behind ``://``; a user name has a rule of its own."""
    of_kind = f"({_HAS_SCHEME} && {_SCHEME} in {one_of(kind.schemes)})"
    check = f"!{of_kind} || {matches(f'[a-z0-9]+://([^/]*@)?{kind.form}')}"
    return Rule(check, f"{field} {kind.expected}")
