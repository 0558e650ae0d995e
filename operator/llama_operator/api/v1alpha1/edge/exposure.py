"""TLS of the gateway's port, and the HTTPRoute or Ingress that leads to it from outside the cluster."""

from typing import Annotated, Final

from pydantic import Field

from llama_operator.api.crdgen.patterns import QUALIFIED_NAME, matches
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.names import API_GROUP, DNS_LABEL, DNS_SUBDOMAIN

_MOST_BYTES: Final = 65_536


def _name_rule(field: str, kind: str) -> Rule:
    return Rule(
        matches(DNS_SUBDOMAIN), f"{field} must be the name of a {kind}: lower-case letters, digits, '-' and '.'"
    )


def _host_rule(field: str) -> Rule:
    return Rule(
        matches(f"([*][.])?{DNS_SUBDOMAIN}"),
        f"{field} must be a host name in lower case, such as chat.example.com, or *.example.com for one label below it",
    )


_ANNOTATIONS: Final = (
    Rule(
        f"self.all(key, {matches(QUALIFIED_NAME, 'key')})",
        "gateway.ingress.annotations must have keys such as nginx.ingress.kubernetes.io/proxy-read-timeout",
    ),
    Rule(
        f"!self.exists(key, key.startsWith('{API_GROUP}/'))",
        f"gateway.ingress.annotations must not have keys of {API_GROUP}, which the operator sets",
    ),
    # Whoever may write a LlamaDeployment must not come to write the configuration of the controller's server.
    Rule(
        "!self.exists(key, key.endsWith('-snippet') || key.endsWith('-snippets'))",
        "gateway.ingress.annotations must not have snippets, which are code of the Ingress controller: make an "
        "Ingress of your own that leads to the Service",
    ),
    Rule(
        f"size(self) == 0 || self.map(key, size(bytes(key)) + size(bytes(self[key]))).sum() <= {_MOST_BYTES}",
        f"gateway.ingress.annotations must have at most {_MOST_BYTES} bytes in all keys and values",
    ),
)
_ONE_WAY: Final = Rule(
    "!(has(self.route) && has(self.ingress))",
    "gateway.route and gateway.ingress are two ways in: keep one of them, and make the other object yourself",
    field="ingress",
)
#: Rules of the gateway's section that its fields below span.
EXPOSURE_RULES: Final = (_ONE_WAY,)

Hostname = Annotated[
    str, Field(min_length=1, max_length=253, json_schema_extra=rules(_host_rule("gateway.route.hostnames")))
]
IngressAnnotation = Annotated[str, Field(max_length=4096)]


class GatewayTls(ApiModel):
    """TLS on the port that clients call."""

    secret_name: str = Field(
        min_length=1,
        max_length=253,
        description="Secret of the type kubernetes.io/tls in the deployment's namespace: tls.crt with the certificate "
        "and its chain, tls.key with the key, both PEM. Gateways take a new content without a restart.",
        json_schema_extra=rules(_name_rule("gateway.tls.secretName", "Secret")),
    )


class ParentGateway(ApiModel):
    """A Gateway (gateway.networking.k8s.io) that the route is attached to."""

    name: str = Field(
        min_length=1,
        max_length=253,
        description="Name of the Gateway.",
        json_schema_extra=rules(_name_rule("gateway.route.parents[].name", "Gateway")),
    )
    namespace: str = Field(
        default="",
        max_length=63,
        description="Its namespace. If empty, the deployment's.",
        json_schema_extra=rules(
            Rule(
                f"self == '' || {matches(DNS_LABEL)}",
                "gateway.route.parents[].namespace must be the name of a namespace: lower-case letters, digits and '-'",
            )
        ),
    )
    section_name: str = Field(
        default="",
        max_length=253,
        description="Listener of the Gateway. If empty, all that admit the route.",
        json_schema_extra=rules(
            Rule(
                f"self == '' || {matches(DNS_SUBDOMAIN)}",
                "gateway.route.parents[].sectionName must be the name of a listener of the Gateway",
            )
        ),
    )


class RouteSpec(ApiModel):
    """An HTTPRoute of the Gateway API, whose CRDs must be there."""

    parents: tuple[ParentGateway, ...] = Field(
        min_length=1, max_length=16, description="Gateways that the route is attached to."
    )
    hostnames: tuple[Hostname, ...] = Field(
        default=(),
        max_length=16,
        description="Hosts that the route is for. If empty, those of the Gateway's listeners.",
    )
    request_timeout_seconds: int | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="Time that the Gateway gives a request and its whole answer; 0: no limit. A stream ends with it. "
        "If absent, the Gateway's own, which is 15 in some.",
    )


class IngressSpec(ApiModel):
    """An Ingress, for a controller that is installed in the cluster."""

    host: str = Field(
        min_length=1,
        max_length=253,
        description="Host that clients call.",
        json_schema_extra=rules(_host_rule("gateway.ingress.host")),
    )
    class_name: str = Field(
        default="",
        max_length=253,
        description="IngressClass. If empty, the cluster's default.",
        json_schema_extra=rules(
            Rule(
                f"self == '' || {matches(DNS_SUBDOMAIN)}",
                "gateway.ingress.className must be the name of an IngressClass",
            )
        ),
    )
    tls_secret_name: str = Field(
        default="",
        max_length=253,
        description="Secret with the certificate that the controller shows for host. If empty, plain HTTP, or the "
        "controller's own certificate.",
        json_schema_extra=rules(
            Rule(
                f"self == '' || {matches(DNS_SUBDOMAIN)}", "gateway.ingress.tlsSecretName must be the name of a Secret"
            )
        ),
    )
    annotations: dict[str, IngressAnnotation] = Field(
        default={},
        description="Annotations of the Ingress, by which controllers are told of time-outs and of buffering.",
        json_schema_extra=rules(*_ANNOTATIONS, maxProperties=32),
    )
