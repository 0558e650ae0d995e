"""Why an image could not be had: the text of the container runtime (containerd, CRI-O) in a container's status."""

from typing import Final

from llama_operator.observe.causes.cause import CauseKind, PodCause, form, read

#: Words of the kubelet for a container without its image.
IMAGE_WORDS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)

#: In this order: what says most comes first, for a denied pull may also be told as not found.
_FORMS: Final = (
    form(CauseKind.IMAGE_NEVER, "is not present with pull policy of Never"),
    form(CauseKind.IMAGE_NAME, "invalid reference format|couldn't parse image"),
    form(CauseKind.IMAGE_UNSIGNED, "signature validation failed|SignatureValidationFailed"),
    form(CauseKind.IMAGE_RATE_LIMIT, "(?i)toomanyrequests|too many requests|pull rate limit|pull QPS exceeded"),
    form(CauseKind.IMAGE_NODE_DISK, "no space left on device"),
    form(CauseKind.IMAGE_PLATFORM, "no match for platform|no matching manifest for|no image found in image index for"),
    form(CauseKind.REGISTRY_PLAIN_HTTP, "server gave HTTP response to HTTPS client"),
    form(CauseKind.REGISTRY_SILENT, "TLS handshake timeout"),
    form(CauseKind.REGISTRY_CERTIFICATE, "x509: |tls: "),
    form(
        CauseKind.IMAGE_DENIED,
        "(?i)40[13] (unauthorized|forbidden)|access denied|authorization failed|insufficient_scope|no basic auth"
        "|unauthorized: |authentication required|anonymous token|requested access to the resource is denied",
    ),
    form(
        CauseKind.IMAGE_NOT_FOUND,
        "(?i)manifest unknown|name unknown|repository .*not found|code = NotFound|[a-z0-9]: not found"
        "|manifest for .* not found|404 not found",
    ),
    form(CauseKind.REGISTRY_NAME, r"lookup (?P<name>[^ :]+)( on [^ ]+)?: (no such host|server misbehaving|.*timeout)"),
    form(CauseKind.REGISTRY_REFUSED, "connection refused|no route to host|network is unreachable"),
    form(CauseKind.REGISTRY_SILENT, "(?i)i/o timeout|deadline exceeded|client.timeout|connection timed out"),
    form(CauseKind.REGISTRY_BROKEN, "(?i)50[0-9] |registry is unavailable|connection reset|unexpected EOF"),
)


def image_cause(message: str) -> PodCause | None:
    """Return why an image could not be had; None where the text has no known form, as a mere pause."""
    return read(_FORMS, message)
