"""What keeps the pods of a deployment apart from others, beyond the NetworkPolicies that there always are."""

from typing import Literal

from pydantic import Field

from llama_operator.api.v1alpha1.base import ApiModel


class WallsSpec(ApiModel):
    """Walls around the pods. A change replaces the groups."""

    engine_key: Literal["auto", "required", "unused"] = Field(
        default="auto",
        description="Whether engines answer only who has the deployment's key: its gateways and its supervisors. "
        "auto: where images.gateway is empty, so that gateways are of the operator's version. An image of an older "
        "version sends no key. unused: also before you go back to an older version.",
    )
    source_egress: Literal["direct", "proxy"] = Field(
        default="direct",
        description="How stagers reach the source. direct: themselves, so NetworkPolicies let the whole stage pod out. "
        "proxy: through a pod of the deployment, with a key that no engine has; stage pods reach their group, DNS and "
        "this pod, and nothing else.",
    )
