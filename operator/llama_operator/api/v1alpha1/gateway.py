"""The gateway: the one place where a request waits. Its limits and deadlines; all times in seconds."""

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.quantity import quantity_rules
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel, Quantity
from llama_operator.api.v1alpha1.edge.exposure import EXPOSURE_RULES, GatewayTls, IngressSpec, RouteSpec
from llama_operator.api.v1alpha1.placement import PodMetadata

_CONNECT_FIRST: Final = Rule(
    "!has(self.firstByteTimeoutSeconds) || self.connectTimeoutSeconds <= self.firstByteTimeoutSeconds",
    "gateway.connectTimeoutSeconds must not be longer than gateway.firstByteTimeoutSeconds, which contains it",
    field="connectTimeoutSeconds",
    shown="{self.connectTimeoutSeconds} and {self.firstByteTimeoutSeconds}",
)


_HOST: Final = "[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?"
_ORIGIN: Final = rf"[a-z][a-z0-9+.-]*://([*][.])?({_HOST}|[[][0-9a-f:.]+[]])(:[1-9][0-9]{{0,4}})?"
_ORIGIN_RULE: Final = Rule(
    f"self == '*' || {matches(_ORIGIN)}",
    "gateway.cors.origins must be origins as a browser sends them: scheme://host or scheme://host:port in lower case, "
    "without path or slash behind, such as https://chat.example.com; https://*.example.com for all hosts below it; "
    "* for every page",
)
Origin = Annotated[str, Field(min_length=1, max_length=255, json_schema_extra=rules(_ORIGIN_RULE))]


class CorsSpec(ApiModel):
    """Which web pages may call the API from a browser (CORS)."""

    origins: tuple[Origin, ...] = Field(
        min_length=1,
        max_length=64,
        description="Origins of the pages: scheme://host[:port], the same with *. before its host for every host below "
        "it, or * for every page. Only pages of origins that are named may send credentials such as cookies.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class GatewayResources(ApiModel):
    """CPU and memory of a gateway pod, requested and limited alike."""

    cpu: Quantity = Field(
        default="500m",
        description="CPU cores of a gateway pod; it uses one at most.",
        json_schema_extra=rules(
            *quantity_rules(field="gateway.resources.cpu", lowest="10m", highest="64", hint="500m or 1")
        ),
    )
    memory: Quantity = Field(
        default="256Mi",
        description="Memory of a gateway pod; bodies of waiting requests are held in it.",
        json_schema_extra=rules(
            *quantity_rules(field="gateway.resources.memory", lowest="64Mi", highest="64Gi", hint="256Mi")
        ),
    )


class GatewaySpec(ApiModel):
    """The gateway in front of the groups."""

    model_config = ConfigDict(json_schema_extra=rules(_CONNECT_FIRST, *EXPOSURE_RULES))

    replicas: int = Field(
        default=2,
        le=64,
        description="Gateway pods; two or more keep requests going while one is replaced.",
        json_schema_extra=rules(
            Rule("self >= 1", "gateway.replicas must be at least 1: requests reach the groups through the gateway only")
        ),
    )
    max_queue_length: int = Field(
        default=1000, ge=0, le=100_000, description="Requests that may wait in a gateway pod; more get 429."
    )
    queue_timeout_seconds: int = Field(
        default=300, ge=1, le=86_400, description="Longest wait of a request for a group; then it gets 503."
    )
    shed_after_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="A request that would wait longer than this for a group is refused at once with 429 and "
        "Retry-After. If absent, it waits.",
    )
    sse_keep_alive_seconds: int = Field(
        default=10,
        ge=0,
        le=3600,
        description="After this time without a first token a stream starts with status 200, and each time that it "
        "passes again without a byte the stream gets an SSE comment, so that no proxy closes it; later errors are "
        "events of the stream. 0 means never.",
    )
    connect_timeout_seconds: int = Field(
        default=2, ge=1, le=60, description="Deadline of a connection to a group; then another group is tried."
    )
    first_byte_timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Deadline from a request sent to the first byte of its response, which is its last too where it is "
        "no stream. If absent, 600, or contextLength / 40 where that is more, at most 3600.",
    )
    idle_timeout_seconds: int = Field(
        default=300, ge=1, le=86_400, description="Longest silence inside a response; then it is broken off."
    )
    max_body_size: Quantity = Field(
        default="32Mi",
        description="Largest body of a request; a larger one gets 413.",
        json_schema_extra=rules(*quantity_rules(field="gateway.maxBodySize", lowest="1Ki", highest="1Gi", hint="32Mi")),
    )
    max_in_flight_per_group: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Requests that one gateway pod sends to a group at once. If absent, its share of "
        "maxConcurrentRequests.",
    )
    cors: CorsSpec | None = Field(
        default=None,
        description="Web pages that may call the API from a browser. If absent, none of another origin may.",
    )
    drain_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Time for requests in flight when a gateway pod is ended. If absent, 300, or contextLength / 40 "
        "where that is more, at most 3600.",
    )
    pod_template: PodMetadata = Field(
        default=PodMetadata(),
        description="Labels and annotations of the gateway pods only, over those of spec.podTemplate.",
    )
    resources: GatewayResources = Field(default=GatewayResources(), description="CPU and memory of a gateway pod.")
    tls: GatewayTls | None = Field(
        default=None, description="TLS on the port that clients call. If absent, it speaks plain HTTP."
    )
    route: RouteSpec | None = Field(
        default=None, description="HTTPRoute that leads to the gateway from outside. If absent, none is made."
    )
    ingress: IngressSpec | None = Field(
        default=None, description="Ingress that leads to the gateway from outside. If absent, none is made."
    )
