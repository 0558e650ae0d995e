"""Sentences about an image that does not fit, or cannot be had. ``field`` names it in the spec."""


def image_for_device_unknown(resource: str, *, in_chart: bool) -> str:
    chart = ", or set images.servingGpu of the operator's chart" if in_chart else ""
    return f"images.serving is empty, and the operator has no image for {resource}; name one in images.serving{chart}"


def image_for_other_device(image: str, *, resource: str, on_cpu: bool) -> str:
    made_for, wanted = ("GPUs", "CPU") if on_cpu else ("CPU", "GPUs")
    return (
        f"images.serving is {image}, the operator's image for {made_for}, and device.resource is {resource}; leave"
        f" images.serving empty, or name an image for {wanted}"
    )


def no_image(pod: str, *, node: str, why: str) -> str:
    return f"pod {pod} on node {node} has no image: {why}"


def image_not_found(image: str, *, field: str) -> str:
    return f"the registry has no {image} ({field}); push it, or correct the name"


def image_denied(image: str, *, field: str, secrets: str) -> str:
    with_ = (
        f"the Secrets of images.pullSecrets ({secrets}) do not allow it"
        if secrets
        else "name one in images.pullSecrets"
    )
    return f"the registry denies {image} ({field}), or has no such repository; {with_}"


def image_rate_limit(image: str) -> str:
    return f"the registry has counted too many pulls, and asks to wait before it gives {image}; name an account in" \
        " images.pullSecrets, or use a mirror"  # fmt: skip


def image_of_other_platform(image: str, *, field: str) -> str:
    return f"{image} ({field}) is not made for the node's processor; build it for that, or choose nodes by" \
        " placement.nodeSelector"  # fmt: skip


def image_name_invalid(image: str, *, field: str) -> str:
    return f"{image} is not an image name ({field})"


def image_never_pulled(image: str, *, field: str) -> str:
    return f"{image} ({field}) is not on the node, and images.pullPolicy is Never; load it there, or change the policy"


def image_unsigned(image: str, *, field: str) -> str:
    return f"the signature of {image} ({field}) is not valid for the node's policy"


def node_disk_full(image: str) -> str:
    return f"the node's disk has no space left for {image}; free some"


def registry_untrusted(image: str) -> str:
    return f"the node does not trust the certificate of the registry of {image}; add its CA on the node"


def registry_speaks_http(image: str) -> str:
    return f"the registry of {image} speaks HTTP where the node expects HTTPS; configure it on the node"


def registry_unknown(host: str) -> str:
    return f"the node finds no address of the registry {host}"


def registry_refuses(image: str) -> str:
    return f"the registry of {image} is not reachable from the node: connection refused or no route"


def registry_silent(image: str) -> str:
    return f"the registry of {image} does not answer in time"


def registry_broken(image: str) -> str:
    return f"the registry of {image} fails for now"


def image_unknown(word: str, *, said: str) -> str:
    return f"{word}{said and f': {said}'}"


def image_pulling(pod: str, *, node: str, image: str, waited: str) -> str:
    return f"pod {pod} pulls {image} on node {node}, {waited} so far"
