"""Objects about keys, TLS and the ways in that the API server must refuse; see bad_inputs."""

from typing import Any

from tests.contract.crd.bad_inputs import BadInput


def _access(name: str, expect: str, **access: Any) -> BadInput:
    return BadInput(f"access: {name}", {"spec": {"access": access}}, expect)


def _clients(name: str, expect: str, **clients: Any) -> BadInput:
    return _access(name, expect, mode="open", clients=clients)


def _gateway(name: str, expect: str, **gateway: Any) -> BadInput:
    return BadInput(f"gateway: {name}", {"spec": {"gateway": gateway}}, expect)


def _route(name: str, expect: str, **route: Any) -> BadInput:
    return _gateway(f"route {name}", expect, route={"parents": [{"name": "front"}], **route})


def _ingress(name: str, expect: str, **ingress: Any) -> BadInput:
    return _gateway(f"ingress {name}", expect, ingress={"host": "chat.example.com", **ingress})


BAD_EDGE_INPUTS: list[BadInput] = [
    _access("no mode", "mode: Required value"),
    _access("unknown mode", 'supported values: "open", "keys"', mode="closed"),
    _access(
        "keys with mode open", "access.keys is for access.mode keys", mode="open", keys={}, clients={"header": "x"}
    ),
    _access("clients with mode keys", "access.clients is for access.mode open", mode="keys", clients={"header": "x"}),
    _access("open without limits", "limits nobody: set access.clients, or remove access", mode="open"),
    _access("no labels", "must name at least one label", mode="keys", keys={"selector": {"matchLabels": {}}}),
    _access(
        "a bad label", "must have label names as keys", mode="keys", keys={"selector": {"matchLabels": {"a b": "c"}}}
    ),
    _access("a bad value", "must have label values", mode="keys", keys={"selector": {"matchLabels": {"a": "b c"}}}),
    _clients("no limit at all", "access.clients must name a limit, such as requestsPerMinute"),
    _clients("zero requests", "should be greater than or equal to 1", requestsPerMinute=0),
    _clients("too many tokens", "should be less than or equal to 1000000000000", tokensPerMinute=10**13),
    _clients("no header", "must be the name of a request header", header="x user"),
    _clients("a secret header", "must not be a header that holds a secret", header="Authorization"),
    _gateway("tls without a secret", "secretName: Required value", tls={}),
    _gateway("tls secret", "gateway.tls.secretName must be the name of a Secret", tls={"secretName": "My_Secret"}),
    _gateway(
        "two ways in",
        "are two ways in: keep one of them",
        route={"parents": [{"name": "front"}]},
        ingress={"host": "chat.example.com"},
    ),
    _route("no parent", "should have at least 1 items", parents=[]),
    _route("parent", "parents[].name must be the name of a Gateway", parents=[{"name": "Front"}]),
    _route(
        "namespace", "parents[].namespace must be the name of a namespace", parents=[{"name": "a", "namespace": "a.b"}]
    ),
    _route(
        "section", "parents[].sectionName must be the name of a listener", parents=[{"name": "a", "sectionName": "A b"}]
    ),
    _route("host", "gateway.route.hostnames must be a host name in lower case", hostnames=["https://chat.example.com"]),
    _route("timeout", "should be greater than or equal to 0", requestTimeoutSeconds=-1),
    _gateway("ingress without a host", "host: Required value", ingress={}),
    _ingress("host", "gateway.ingress.host must be a host name in lower case", host="Chat.example.com"),
    _ingress("class", "gateway.ingress.className must be the name of an IngressClass", className="a b"),
    _ingress("tls", "gateway.ingress.tlsSecretName must be the name of a Secret", tlsSecretName="A"),
    _ingress("key", "gateway.ingress.annotations must have keys such as", annotations={"a b": "c"}),
    _ingress("our key", "must not have keys of llama-operator.dev", annotations={"llama-operator.dev/digest": "x"}),
    _ingress(
        "snippet",
        "must not have snippets, which are code of the Ingress controller",
        annotations={"nginx.ingress.kubernetes.io/configuration-snippet": "return 200;"},
    ),
    _ingress(
        "size",
        "must have at most 65536 bytes in all keys and values",
        annotations={f"example.com/note-{number}": "x" * 4096 for number in range(17)},
    ),
]
