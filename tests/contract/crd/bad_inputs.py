"""Objects that the API server must refuse, each with a part of the sentence that the user reads.

``patch`` is merged into ``VALID`` or ``VALID_WEIGHTS`` (None takes a field out); ``before`` is merged into the object
that is there already, for what may be created but not changed.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

Object = dict[str, Any]

VALID: Final[Object] = {
    "apiVersion": "llama-operator.dev/v1alpha1",
    "kind": "LlamaDeployment",
    "metadata": {"name": "llama"},
    "spec": {
        "model": {
            "source": "pvc://models/llama-3.1-8b",
            "revision": "0e9e39f249a16976918f6564b8830bc894c89659",
            "license": "llama3.1",
            "acceptLicense": True,
        },
    },
}

VALID_WEIGHTS: Final[Object] = {
    "apiVersion": "llama-operator.dev/v1alpha1",
    "kind": "LlamaWeights",
    "metadata": {"name": "llama-weights"},
    "spec": VALID["spec"]["model"],
}


@dataclass(frozen=True)
class BadInput:
    """One object to refuse."""

    name: str
    patch: Object
    expect: str
    before: Object | None = field(default=None)
    base: Object = field(default_factory=lambda: VALID)


def merged(base: Object, patch: Object) -> Object:
    """JSON merge patch: objects are merged, None removes, all else replaces."""
    result = deepcopy(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def _spec(name: str, expect: str, *, before: Object | None = None, **sections: Any) -> BadInput:
    """A bad spec; ``before`` is a patch of the spec that is there already."""
    return BadInput(name, {"spec": sections}, expect, None if before is None else {"spec": before})


def _golden(name: str, said: str, **fields: Any) -> BadInput:
    """A bad golden prompt."""
    prompt = {"prompt": "What is the weather in Paris?"} | fields
    return _spec(f"a golden prompt with {name}", said, verify={"goldenPrompts": [prompt]})


def _weights(name: str, expect: str, *, before: Object | None = None, **fields: Any) -> BadInput:
    """A bad spec of a LlamaWeights."""
    earlier = None if before is None else {"spec": before}
    return BadInput(f"weights: {name}", {"spec": fields}, expect, earlier, VALID_WEIGHTS)


def _both(name: str, expect: str, **fields: Any) -> tuple[BadInput, BadInput]:
    """What is refused in a LlamaDeployment's model is refused in a LlamaWeights too; ``{}`` is the model's path."""
    return (
        _spec(name, expect.replace("{}", "model."), model=fields),
        _weights(name, expect.replace("{}", ""), **fields),
    )


def _named(name: str, value: str, expect: str, *, base: Object = VALID) -> BadInput:
    return BadInput(name, {"metadata": {"name": value}}, expect, None, base)


NAMES: Final = (
    _named("name too long for child names", "n" * 46, "metadata.name must have at most 45 characters"),
    _named("name with a dot", "llama.one", "metadata.name must begin with a letter and hold only lower-case letters"),
    _named("name that begins with a digit", "8b", "(it is 8b)"),
)

MODEL: Final = (
    _spec("no model", "spec.model: Required value", model=None, replicas=1),
    _spec("no source", "spec.model.source: Required value", model={"source": None}),
    *(
        bad
        for name, expect, source in (
            ("source without a scheme", "{}source must start with a known scheme", "/models/llama"),
            ("unknown scheme", "known scheme (pvc://, hf://", "ftp://host/llama"),
            ("scheme in capitals", "{}source must start with a known scheme", "PVC://models/llama"),
            ("password in the source", "{}source must not contain credentials", "https://me:secret@host/llama"),
            ("user in the source", "name it in credentialsSecret", "s3://key@bucket/llama"),
            ("no claim", "{}source must name a PersistentVolumeClaim after pvc://", "pvc:///llama"),
            ("claim in capitals", "{}source must name a PersistentVolumeClaim", "pvc://Models/llama"),
            ("claim with shell text", "{}source must name a PersistentVolumeClaim", "pvc://$(id)/llama"),
            ("claim that changes", "{}source must name a PersistentVolumeClaim", "pvc://{revision}/llama"),
            ("path that climbs out", "without '.' or '..' as a folder", "pvc://models/../../etc"),
            ("path that climbs out of a bucket", "without '.' or '..' as a folder", "s3://models/../etc"),
            ("path with an empty folder", "{}source must go on with a plain path", "pvc://models//llama"),
            ("path with a space", "{}source must go on with a plain path", "pvc://models/llama 3"),
            ("path with shell text", "{}source must go on with a plain path", "pvc://models/a;rm -rf"),
            ("path with a line break", "{}source must go on with a plain path", "pvc://models/a\nb"),
            ("path with another placeholder", "{}source must go on with a plain path", "s3://models/{version}"),
            ("address with a query", "{}source must go on with a plain path", "https://host/llama?token=secret"),
            ("source too long", "Too long", "pvc://models/" + "a" * 1024),
            ("repository without an owner", "{}source must be an owner and a repository after hf://", "hf://llama"),
            ("repository with a way out", "without '.' or '..' as a folder", "hf://meta/llama/../other"),
            ("repository with a placeholder", "the commit goes into revision", "hf://meta/{revision}"),
            ("bucket in capitals", "{}source must name a bucket (3 to 63", "s3://Models/llama"),
            ("no bucket", "{}source must name a bucket", "gs:///llama"),
            ("account without a container", "{}source must name a storage account and a container", "az://company"),
            ("no host", "{}source must name a host after http(s)://", "https:///llama"),
            ("host with a space", "{}source must name a host", "http://my host/llama"),
            ("registry without a repository", "{}source must be a registry and a repository", "oci://registry"),
            ("repository with a tag", "the tag or digest goes into revision", "oci://registry/llama:1.0"),
            ("repository with a digest", "the tag or digest goes into revision", "oci://registry/llama@sha256:00"),
        )
        for bad in _both(name, expect, source=source)
    ),
    _spec("no revision", "spec.model.revision: Required value", model={"revision": None}),
    *(
        _spec(f"revision {revision}", "model.revision must not move", model={"revision": revision})
        for revision in ("main", "master", "latest", "HEAD", "stable", "refs/heads/v1", "refs/pr/7", "origin/v1")
    ),
    _spec(
        "moving revision of a repository",
        "model.revision must not move",
        model={"source": "hf://meta/llama", "revision": "main"},
    ),
    *_both("revision with shell text", "{}revision must be made of", revision="v1`id`"),
    *_both("revision that climbs out", "{}revision must be made of", revision="v1/../../etc"),
    *_both("revision with an empty part", "{}revision must be made of", revision="v1//a"),
    *_both("revision that is half a digest", "{}revision must be made of", revision="sha256:0123"),
    *_both("license not accepted", "{}acceptLicense must be true", acceptLicense=False),
    *_both("license acceptance left out", "(the license is llama3.1)", acceptLicense=None),
    _spec("no license", "spec.model.license: Required value", model={"license": None}),
    *_both("license as a sentence", "{}license must be the license's short name", license="Llama 3"),
    *_both("credentials that are no name", "{}credentialsSecret must be the name of a Secret", credentialsSecret="A b"),
    *_both("digest without its kind", "{}digest must be sha256: and 64 hexadecimal digits", digest="0" * 64),
    *_both("digest that is too short", "{}digest must be sha256:", digest="sha256:00"),
    _spec("served name with a space", "model.servedName must be made of", model={"servedName": "Llama 3"}),
    _spec(
        "served name changed",
        "model.servedName cannot change",
        model={"servedName": "new"},
        before={"model": {"servedName": "old"}},
    ),
)

WEIGHTS: Final = (
    _named("weights: name too long for a Job", "n" * 55, "metadata.name must have at most 54", base=VALID_WEIGHTS),
    _named("weights: name with a dot", "a.b", "metadata.name of weights must begin with a letter", base=VALID_WEIGHTS),
    _weights("no source", "spec.source: Required value", source=None),
    _weights("no revision", "spec.revision: Required value", revision=None),
    _weights("no license", "spec.license: Required value", license=None),
    _weights("moving revision of a claim", "revision may only be a moving name", revision="main"),
    _weights(
        "moving revision of a bucket",
        "where it is resolved once: name a tag that stays or a date (it is latest)",
        source="s3://models/{revision}",
        revision="latest",
    ),
    _weights("unknown check", "Unsupported value", check="none"),
    _weights("source changed", "source cannot change", source="pvc://models/other", before={}),
    _weights("revision changed", "revision cannot change", revision="v2", before={}),
    _weights("digest changed", "digest cannot change", digest=f"sha256:{'0' * 64}", before={}),
    _weights("check changed", "check cannot change", check="listing", before={}),
    _weights("acceptance taken back", "acceptLicense must be true", acceptLicense=False, before={}),
    _weights("selector with a bad key", "must have label names as keys", placement={"nodeSelector": {"a b": "c"}}),
    _weights("selector with a bad value", "must have label values", placement={"nodeSelector": {"zone": "a b"}}),
    _weights("unknown pull policy", "Unsupported value", images={"pullPolicy": "Sometimes"}),
    _weights("served name", 'unknown field "spec.servedName"', servedName="llama"),
)

STAGING: Final = (
    _spec(
        "claim that is no name",
        "staging.sharedClaimName must be the name of a Persist",
        staging={"sharedClaimName": "A b"},
    ),
    _spec("staging limit that is no quantity", "staging.sizeLimit must be a", staging={"sizeLimit": "much"}),
    _spec("staging limit of zero", "staging.sizeLimit must lie between", staging={"sizeLimit": "0"}),
    _spec(
        "claim without a size", "size: Required value", staging={"volumeClaimTemplate": {"storageClassName": "fast"}}
    ),
    _spec(
        "claim with a size that is none",
        "staging.volumeClaimTemplate.size must be a Kubernetes",
        staging={"volumeClaimTemplate": {"size": "large"}},
    ),
    _spec(
        "claim of no size",
        "staging.volumeClaimTemplate.size must lie between",
        staging={"volumeClaimTemplate": {"size": "1Ki"}},
    ),
    _spec(
        "storage class that is no name",
        "staging.volumeClaimTemplate.storageClassName must be",
        staging={"volumeClaimTemplate": {"size": "1Gi", "storageClassName": "A b"}},
    ),
    _spec(
        "two claims for staging",
        "both say where weights lie",
        staging={"sharedClaimName": "shared", "volumeClaimTemplate": {"size": "1Gi"}},
    ),
    _spec(
        "staging limit of a claim",
        "with a claim remove it",
        staging={"sharedClaimName": "shared", "sizeLimit": "1Gi"},
    ),
)

LAYOUT: Final = (
    _spec("negative groups", "replicas must be at least 0", replicas=-1),
    _spec("too many groups", "less than or equal to 1000", replicas=1001),
    _spec("groups as text", "must be of type integer", replicas="two"),
    _spec("no stages", "sharding.pipeline must be at least 1", sharding={"pipeline": 0}),
    _spec("too many stages", "less than or equal to 128", sharding={"pipeline": 129}),
    _spec("tensor of zero", "sharding.tensor must be at least 1", sharding={"tensor": 0}),
    _spec("tensor above the pod's devices", "(tensor is 8, count is 4)", sharding={"tensor": 8}, device={"count": 4}),
    _spec("tensor below the pod's devices", "must equal device.count", sharding={"tensor": 2}, device={"count": 8}),
    _spec("tensor on cpu", "must be 1 when device.resource is cpu", sharding={"tensor": 2}, device={"resource": "cpu"}),
    _spec("several cpu devices", "device.count must be 1 when", device={"resource": "cpu", "count": 2}),
    _spec("no devices", "device.count must be at least 1", device={"count": 0}),
    _spec("device without a domain", "device.resource must be cpu or", device={"resource": "gpu"}),
    _spec("device with shell text", "device.resource must be cpu or", device={"resource": "nvidia.com/gpu;id"}),
    _spec("device of Kubernetes", "must be a device of a vendor", device={"resource": "node.kubernetes.io/gpu"}),
    _spec("device changed", "(nvidia.com/gpu to cpu)", device={"resource": "cpu"}, before={}),
    _spec("no context", "greater than or equal to 16", contextLength=0),
    _spec("context too long", "less than or equal to 10485760", contextLength=10_485_761),
    _spec("context that overflows", "spec.contextLength", contextLength=9_223_372_036_854_775_808),
    _spec("unknown dtype", 'supported values: "auto"', dtype="int3"),
    _spec("no requests", "greater than or equal to 1", maxConcurrentRequests=0),
)

RESOURCES: Final = (
    _spec("cpu that is no quantity", "resources.cpu must be a Kubernetes quantity", resources={"cpu": "four"}),
    _spec("cpu of zero", "resources.cpu must lie between 100m and 1024", resources={"cpu": 0}),
    _spec("negative cpu", "resources.cpu must lie between", resources={"cpu": "-1"}),
    _spec("cpu as a fraction", "must be of type integer,string", resources={"cpu": 0.5}),
    _spec("memory that is no quantity", "resources.memory must be a Kubernetes", resources={"memory": "64 GB"}),
    _spec("memory without a unit", "resources.memory must lie between 256Mi", resources={"memory": 64}),
    _spec("memory that overflows", "resources.memory must lie between", resources={"memory": "9" * 40 + "Ei"}),
    _spec("shared memory that is no quantity", "resources.sharedMemory must be a", resources={"sharedMemory": ""}),
    _spec("negative shared memory", "resources.sharedMemory must lie", resources={"sharedMemory": "-1Gi"}),
    _spec(
        "shared memory above memory",
        "(sharedMemory is 16Gi, memory is 8Gi)",
        resources={"memory": "8Gi", "sharedMemory": "16Gi"},
    ),
)

PLACEMENT: Final = (
    _spec("selector with a bad key", "must have label names as keys", placement={"nodeSelector": {"a b": "c"}}),
    _spec("selector with a bad value", "must have label values", placement={"nodeSelector": {"zone": "a b"}}),
    _spec("selector with a number", "must be of type string", placement={"nodeSelector": {"zone": 1}}),
    _spec("selector with a long value", "Too long", placement={"nodeSelector": {"zone": "z" * 64}}),
    _spec(
        "toleration Exists with a value",
        "value must be empty when operator is Exists (key is gpu, value is a)",
        placement={"tolerations": [{"key": "gpu", "operator": "Exists", "value": "a"}]},
    ),
    _spec("toleration of nothing", "operator must be Exists when key is empty", placement={"tolerations": [{}]}),
    _spec(
        "toleration for a time without NoExecute",
        "tolerationSeconds needs effect NoExecute",
        placement={"tolerations": [{"key": "gpu", "effect": "NoSchedule", "tolerationSeconds": 5}]},
    ),
    _spec(
        "toleration with a bad key",
        "key must be the name of a taint",
        placement={"tolerations": [{"key": "a b", "operator": "Exists"}]},
    ),
    _spec(
        "toleration with a bad effect",
        'supported values: "", "NoSchedule"',
        placement={"tolerations": [{"key": "gpu", "effect": "Maybe"}]},
    ),
    _spec("bad priority class", "must be the name of a PriorityClass", placement={"priorityClassName": "High!"}),
    _spec("raw pod fields", 'unknown field "spec.placement.hostNetwork"', placement={"hostNetwork": True}),
)

ENGINE: Final = (
    _spec("option not allowed", 'unknown field "spec.engine.trustRemoteCode"', engine={"trustRemoteCode": True}),
    _spec("option in the engine's spelling", 'unknown field "spec.engine.max-model', engine={"max-model-len": 4096}),
    _spec("option with shell text", "Unsupported value", engine={"kvCacheDtype": "fp8; rm -rf /"}),
    _spec("option with a command", "Unsupported value", engine={"quantization": "$(reboot)"}),
    _spec("number with shell text", "must be of type integer", engine={"seed": "1 | sh"}),
    _spec("flag as text", "must be of type boolean", engine={"enforceEager": "yes && id"}),
    _spec("share above one", "must lie between 0.1 and 0.98", engine={"gpuMemoryUtilization": 1.5}),
    _spec("share of zero", "must lie between 0.1 and 0.98", engine={"gpuMemoryUtilization": 0}),
    _spec("block of no size", "Unsupported value", engine={"blockSize": 17}),
    _spec("cache that is no quantity", "engine.kvCacheMemory must be a", engine={"kvCacheMemory": "`id`"}),
    _spec("cache of zero", "engine.kvCacheMemory must lie between", engine={"kvCacheMemory": "0"}),
    _spec(
        "two cache sizes",
        "both set the size of the KV cache",
        engine={"kvCacheMemory": "8Gi", "gpuMemoryUtilization": 0.9},
    ),
    _spec(
        "batch below the requests",
        "(maxConcurrentRequests is 64)",
        engine={"maxNumBatchedTokens": 32},
    ),
    _spec("compiled code nowhere", "engine.cache needs either claimName or onStagingClaim", engine={"cache": {}}),
    _spec(
        "compiled code in two places",
        "engine.cache needs either claimName or onStagingClaim",
        staging={"sharedClaimName": "weights"},
        engine={"cache": {"claimName": "code", "onStagingClaim": True}},
    ),
    _spec(
        "compiled code on a claim that goes",
        "engine.cache.onStagingClaim needs staging.sharedClaimName",
        engine={"cache": {"onStagingClaim": True}},
    ),
    _spec(
        "compiled code in a claim of no name",
        "engine.cache.claimName must be the name of a PersistentVolumeClaim",
        engine={"cache": {"claimName": "Code_1"}},
    ),
    _spec("parser of tool calls that is none", '"auto", "off", "apertus"', model={"tools": "llama9"}),
    _spec("parser of reasoning that is none", "Unsupported value", model={"reasoning": "llama3_json"}),
    _spec("parser of the engine that is none", "Unsupported value", engine={"toolCallParser": "auto"}),
    _spec("tools that YAML reads as a boolean", "must be of type string", model={"tools": False}),
    _spec(
        "two parsers of tool calls",
        "engine.toolCallParser and model.tools name two parsers of tool calls: remove engine.toolCallParser (tools is ",
        model={"tools": "hermes"},
        engine={"toolCallParser": "llama3_json"},
    ),
    _spec(
        "two parsers of reasoning",
        "(reasoning is off)",
        model={"reasoning": "off"},
        engine={"reasoningParser": "deepseek_r1"},
    ),
    _spec(
        "template in a ConfigMap of no name",
        "model.chatTemplate.configMap must be the name of a ConfigMap",
        model={"chatTemplate": {"configMap": "Templates_1"}},
    ),
    _spec(
        "template under no key",
        "model.chatTemplate.key must be a key of the ConfigMap",
        model={"chatTemplate": {"configMap": "templates", "key": "../x"}},
    ),
    _spec("template in the spec", "must be of type object", model={"chatTemplate": "{{ messages }}"}),
    _spec(
        "text of a template in the spec",
        'unknown field "spec.model.chatTemplate.text"',
        model={"chatTemplate": {"configMap": "templates", "text": "{{ messages }}"}},
    ),
    _spec("seed that overflows", "less than or equal to 4294967295", engine={"seed": 4_294_967_296}),
)

IMAGES: Final = (
    _spec("serving image with a space", "images.serving must be an image reference", images={"serving": "a b"}),
    _spec("gateway image with capitals", "images.gateway must be an image reference", images={"gateway": "Repo:1"}),
    _spec("image with a URL's scheme", "images.serving must be an image", images={"serving": "https://r.io/a"}),
    _spec("unknown pull policy", "Unsupported value", images={"pullPolicy": "Sometimes"}),
    _spec("pull secret twice", "Duplicate value", images={"pullSecrets": ["a", "a"]}),
    _spec("bad pull secret", "images.pullSecrets must be names of Secrets", images={"pullSecrets": ["A B"]}),
)

GATEWAY: Final = (
    *(
        _spec(f"origin {origin}", "gateway.cors.origins must be origins as", gateway={"cors": {"origins": [origin]}})
        for origin in (
            "chat.example.com",
            "https://chat.example.com/",
            "https://chat.example.com/path",
            "https://Chat.example.com",
            "https://user@chat.example.com",
            "https://chat.*.com",
            "https://*",
            "https://*chat.example.com",
            "https://chat.example.com:0",
            "https://chat.example.com:123456",
            "https://a.example https://b.example",
            "null",
        )
    ),
    _spec("no origin", "gateway.cors.origins", gateway={"cors": {"origins": []}}),
    _spec("cors without origins", "gateway.cors.origins", gateway={"cors": {}}),
    _spec("origin twice", "Duplicate value", gateway={"cors": {"origins": ["*", "*"]}}),
    _spec("no gateway", "gateway.replicas must be at least 1", gateway={"replicas": 0}),
    _spec("negative queue", "greater than or equal to 0", gateway={"maxQueueLength": -1}),
    _spec("no wait", "greater than or equal to 1", gateway={"queueTimeoutSeconds": 0}),
    _spec("negative pause", "greater than or equal to 0", gateway={"sseKeepAliveSeconds": -1}),
    _spec(
        "time-outs in the wrong order",
        "(10 and 5)",
        gateway={"connectTimeoutSeconds": 10, "firstByteTimeoutSeconds": 5},
    ),
    _spec("body that is no quantity", "gateway.maxBodySize must be a Kubernetes", gateway={"maxBodySize": "1 MB"}),
    _spec("body too large", "gateway.maxBodySize must lie between", gateway={"maxBodySize": "2Gi"}),
    _spec("more sent than the engine runs", "or requests would wait", gateway={"maxInFlightPerGroup": 65}),
    _spec("more gateways than requests", "which the gateway pods share", maxConcurrentRequests=1),
    _spec("gateway cpu that is no quantity", "gateway.resources.cpu must be a", gateway={"resources": {"cpu": "x"}}),
    _spec("gateway cpu of zero", "gateway.resources.cpu must lie", gateway={"resources": {"cpu": "0"}}),
    _spec(
        "gateway memory that is no quantity", "gateway.resources.memory must be", gateway={"resources": {"memory": "x"}}
    ),
    _spec("gateway memory without a unit", "gateway.resources.memory must lie", gateway={"resources": {"memory": 256}}),
    _spec("drain of no time", "greater than or equal to 1", drainTimeoutSeconds=0),
    _spec("start of no time", "greater than or equal to 60", startTimeoutSeconds=1),
    _spec("drain of more than a day", "less than or equal to 86400", drainTimeoutSeconds=86_401),
)

ROLLOUT: Final = (
    _spec(
        "a rollout that may change nothing",
        "must not both be 0, or no group could ever be changed",
        rollout={"maxSurge": 0, "maxUnavailable": 0},
    ),
    _spec("a restart at no time", "rollout.restartedAt", rollout={"restartedAt": "yesterday"}),
    _spec("a restart at a time without a zone", "rollout.restartedAt", rollout={"restartedAt": "2026-01-31T12:00:00"}),
    _spec(
        "a golden prompt without an answer",
        "set expect, pattern, expectCall or schema",
        verify={"goldenPrompts": [{"prompt": "What is the capital of France?"}]},
    ),
    _golden("tools alone", "set expect, pattern, expectCall or schema", tools=[{"name": "get_weather"}]),
    _golden("a call without tools", "(expectCall.name is get_weather)", expectCall={"name": "get_weather"}),
    _golden(
        "a call of another function",
        "describe the function in tools, or correct the name (expectCall.name is get_wether)",
        tools=[{"name": "get_weather"}],
        expectCall={"name": "get_wether"},
    ),
    _golden(
        "a call and a text",
        "remove expectCall, or expect and pattern",
        tools=[{"name": "get_weather"}],
        expectCall={"name": "get_weather"},
        expect="sunny",
    ),
    _golden("tools and a schema", "make two prompts of it", tools=[{"name": "f"}], schema='{"type": "object"}'),
    _golden("tools without a chat", "remove chat or tools", tools=[{"name": "f"}], expect="a", chat=False),
    _golden("a tool with a space", "the name of a tool must be letters", tools=[{"name": "get weather"}], expect="a"),
    _golden("the same tool twice", "Duplicate value", tools=[{"name": "f"}, {"name": "f"}], expect="a"),
    _golden("nine tools", "must have at most 8 items", tools=[{"name": f"f{k}"} for k in range(9)], expect="a"),
    _golden("a schema that is a list", "schema must be a JSON object as text", schema="[]"),
    _golden("a schema in YAML", "schema must be a JSON object as text", schema="type: object"),
    _golden("a schema that is an object", "goldenPrompts[0].schema", schema={"type": "object"}),
    _golden(
        "parameters of a tool that are a list",
        "parameters of a tool must be a JSON object as text",
        tools=[{"name": "f", "parameters": "[]"}],
        expect="a",
    ),
    _golden("a schema of 17 kB", "Too long", schema='{"a": "' + "b" * 17_000 + '"}'),
    _golden(
        "arguments that are a list",
        "arguments of expectCall must be a JSON object as text",
        tools=[{"name": "f"}],
        expectCall={"name": "f", "arguments": '["Paris"]'},
    ),
    _spec(
        "two texts of one name",
        "Duplicate value",
        verify={"namedQualityTexts": [{"name": "a", "text": "b"}, {"name": "a", "text": "c"}]},
    ),
)


_DAY: Final = {"name": "day", "from": "08:00", "to": "20:00", "minReplicas": 2}


def _scaled(name: str, expect: str, *, also: Object | None = None, **fields: Any) -> BadInput:
    """A bad section ``autoscaling``; ``also`` is the rest of the spec."""
    return _spec(f"autoscaling: {name}", expect, **(also or {}), autoscaling={"maxReplicas": 4} | fields)


def _peak(what: str, expect: str, **fields: Any) -> BadInput:
    """A bad schedule."""
    peak = {name: value for name, value in (_DAY | fields).items() if value is not None}
    return _scaled(f"schedule, {what}", expect, schedules=[peak])


AUTOSCALING: Final = (
    _scaled("no most", "spec.autoscaling.maxReplicas: Required value", maxReplicas=None),
    _scaled("most of zero", "greater than or equal to 1", maxReplicas=0, minReplicas=0),
    _scaled("too many", "less than or equal to 1000", maxReplicas=1001),
    _scaled("fewest above most", "(minReplicas is 5, maxReplicas is 4)", minReplicas=5),
    _scaled("negative fewest", "greater than or equal to 0", minReplicas=-1),
    _scaled("replicas above most", "(replicas is 5)", also={"replicas": 5}),
    _scaled("replicas below fewest", "replicas must lie between", also={"replicas": 2}, minReplicas=3),
    _scaled("replicas of zero below fewest", "replicas must lie between", also={"replicas": 0}),
    _scaled(
        "windows turned round", "must be less than stableSeconds", windows={"stableSeconds": 60, "panicSeconds": 60}
    ),
    _scaled("no wait", "greater than or equal to 1", target={"waitSeconds": 0}),
    _scaled("in flight above the batch", "(maxConcurrentRequests is 64)", target={"inFlightPerGroup": 65}),
    _scaled("in flight of zero", "greater than or equal to 1", target={"inFlightPerGroup": 0}),
    _scaled("idle at once", "greater than or equal to 1", idleAfterSeconds=0),
    _scaled("no step", "greater than or equal to 1", maxScaleUp=0),
    _scaled("warm without claims", "needs staging.volumeClaimTemplate", warmGroups=1),
    _scaled("two schedules of a name", "Duplicate value", schedules=[_DAY, _DAY]),
    _peak("no name", "name: Required value", name=None),
    _peak("empty name", "name in body should be at least 1 chars long", name=""),
    _peak("no begin", "from: Required value", **{"from": None}),
    _peak("begin of another form", "from must be a time of day of 24 hours", **{"from": "8:00"}),
    _peak("end after midnight", "to must be a time of day of 24 hours", to="24:00"),
    _peak("end that is no time", "to must be a time of day of 24 hours", to="8pm"),
    _peak("zone with a space", "timeZone must be a name of the IANA time zone database", timeZone="Central European"),
    _peak("zone that climbs out", "timeZone must be a name of the IANA time zone database", timeZone="../etc/passwd"),
    _peak("day in full", 'supported values: "Mon"', days=["Monday"]),
    _peak("day twice", "Duplicate value", days=["Mon", "Mon"]),
    _peak("no day", "should have at least 1 items", days=[]),
    _peak("above most", "(maxReplicas is 4)", minReplicas=5),
)


def _pods(name: str, expect: str, **maps: dict[str, str]) -> BadInput:
    return _spec(f"pods: {name}", expect, podTemplate=maps)


_OURS, _KUBERNETES = "keys that the operator sets or reads", "keys that Kubernetes reserves"
POD_TEMPLATE: Final = (
    _pods("a label of the operator", _OURS, labels={"llama-operator.dev/group": "1"}),
    _pods("a label below the operator's domain", _OURS, labels={"x.llama-operator.dev/group": "1"}),
    _pods("the component", _OURS, labels={"app.kubernetes.io/component": "gateway"}),
    _pods("who manages it", _OURS, labels={"app.kubernetes.io/managed-by": "me"}),
    _pods("a ReplicaSet's label", _OURS, labels={"pod-template-hash": "1"}),
    _pods(
        "the operator's name", "by which the operator's own pods", labels={"app.kubernetes.io/name": "llama-operator"}
    ),
    _pods("a label of Kubernetes", _KUBERNETES, labels={"kubernetes.io/os": "linux"}),
    _pods("a label below k8s.io", _KUBERNETES, labels={"scheduler.alpha.k8s.io/x": "1"}),
    _pods("a label without a name", "must have keys such as", labels={"example.com/": "1"}),
    _pods("a label with a long name", "must have keys such as", labels={"n" * 64: "1"}),
    _pods("a label with a long domain", "must have keys such as", labels={f"{'d.' * 126}dd/n": "1"}),
    _pods("a label with a bad value", "must have values of at most 63", labels={"team": "a b"}),
    _pods("a label with a long value", "Too long", labels={"team": "a" * 64}),
    _pods("many labels", "must have at most 32 items", labels={f"k{number}": "v" for number in range(33)}),
    _pods("an annotation of the operator", _OURS, annotations={"llama-operator.dev/weights": "w"}),
    _pods("an annotation of Kubernetes", _KUBERNETES, annotations={"kubernetes.io/egress-bandwidth": "1M"}),
    _pods("an annotation with a bad key", "must have keys such as", annotations={"a b": ""}),
    _pods("large annotations", "at most 65536 bytes", annotations={f"k{number}": "é" * 16_000 for number in range(3)}),
    _spec("pods: of the gateway only", _OURS, gateway={"podTemplate": {"labels": {"llama-operator.dev/stage": "0"}}}),
)


BAD_INPUTS: Final = (
    *NAMES,
    *MODEL,
    *WEIGHTS,
    *STAGING,
    *ROLLOUT,
    *LAYOUT,
    *AUTOSCALING,
    *RESOURCES,
    *PLACEMENT,
    *POD_TEMPLATE,
    *ENGINE,
    *IMAGES,
    *GATEWAY,
)
