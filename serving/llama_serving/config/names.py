"""Labels, annotations, ports, paths and headers that more than one part must spell the same way."""

from typing import Final

API_GROUP: Final = "llama-operator.dev"

# Kubernetes' forms of names as RE2 patterns without anchors. ``[.]`` because CEL would eat a backslash.
DNS_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_SUBDOMAIN: Final = f"{DNS_LABEL}([.]{DNS_LABEL})*"

# The longest name made from a LlamaDeployment's: {name}-{pod hash: 8}-{group: up to 4}-{stage: up to 3}, a DNS label of
# at most 63 characters.
MAX_NAME: Final = 63 - len("-12345678-1234-123")

# Of a LlamaWeights: {name}-{key: 8}, the name of its Job, which becomes a label's value.
MAX_WEIGHTS_NAME: Final = 63 - len("-12345678")

# Labels of every pod that belongs to a LlamaDeployment (a stage or a gateway).
LABEL_DEPLOYMENT: Final = f"{API_GROUP}/deployment"  # name of the LlamaDeployment
LABEL_COMPONENT: Final = "app.kubernetes.io/component"  # COMPONENT_*
LABEL_GROUP: Final = f"{API_GROUP}/group"  # ordinal of the group, decimal
LABEL_STAGE: Final = f"{API_GROUP}/stage"  # index of the stage in its group, decimal; "0" is the leader
LABEL_POD_HASH: Final = f"{API_GROUP}/pod-hash"  # hash of what makes a pod different
LABEL_WEIGHTS: Final = f"{API_GROUP}/weights"  # name of the LlamaWeights that a resolver's objects belong to
LABEL_ADAPTER: Final = f"{API_GROUP}/adapter"  # name of the LlamaAdapter, likewise
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "llama-operator"

COMPONENT_STAGE: Final = "stage"
COMPONENT_GATEWAY: Final = "gateway"
COMPONENT_RESOLVER: Final = "resolver"
COMPONENT_REHEARSAL: Final = "rehearsal"
COMPONENT_FETCH: Final = "fetch"  # the proxy through which stagers reach sources

# Annotation of a stage pod: the weights that its engine answers with, as observed by the operator.
ANNOTATION_WEIGHTS: Final = f"{API_GROUP}/weights"

# Annotation of a leader: the LoRA adapters that its group answers with, as observed by the operator after they were
# verified: JSON object from name in the OpenAI API to AdapterRef.id. Gateways send a request for an adapter only there.
ANNOTATION_ADAPTERS: Final = f"{API_GROUP}/adapters"

# Annotation of a LlamaAdapter that a selector finds: its name in the OpenAI API, if not the name of the object.
ANNOTATION_SERVED_NAME: Final = f"{API_GROUP}/served-name"

# Annotation of a leader whose drain took too long ("true"): gateways move its streams to other groups on its weights.
ANNOTATION_MOVE_STREAMS: Final = f"{API_GROUP}/move-streams"

# Annotation of every object that is applied: hash of what was written, so that a field that goes shows.
ANNOTATION_DIGEST: Final = f"{API_GROUP}/digest"

# Annotation of the gateway's pod template: hash of its config, so that a change of it makes new pods.
ANNOTATION_CONFIG: Final = f"{API_GROUP}/config"

# Annotation of a resolver's Job: number of the attempt, decimal.
ANNOTATION_ATTEMPT: Final = f"{API_GROUP}/attempt"

# Annotation of a stage pod: which labels and annotations of spec.podTemplate it was given, and a hash of them.
ANNOTATION_POD_TEMPLATE: Final = f"{API_GROUP}/pod-template"

# Label of a namespace, or of a pod beside the deployment, that may read metrics of gateways and leaders ("enabled").
LABEL_METRICS: Final = f"{API_GROUP}/metrics"

# Label of a Secret whose content may be sent to sources of weights, whoever names it in credentialsSecret; any value.
LABEL_SOURCE: Final = f"{API_GROUP}/source"
# Annotation of such a Secret: where to; see config/walls/places.py. Absent: to any source.
ANNOTATION_SOURCE_HOSTS: Final = f"{API_GROUP}/source-hosts"
# Label of a Secret that holds a key of a client; the operator watches no other Secrets. Of the Secret in which it keeps
# the rules for gateways the value is ACCESS_RULES, of one with a key any other.
LABEL_ACCESS_KEY: Final = f"{API_GROUP}/access-key"
ACCESS_RULES: Final = "rules"

# Readiness gate of the leader: the pod is Ready, and so gets requests, only while this condition is True.
GATE_IN_ROTATION: Final = f"{API_GROUP}/in-rotation"

# Scheduling gate of a stage pod: removed from all pods of a group together, once there is room for all of them.
GATE_GROUP: Final = f"{API_GROUP}/group"
# Annotation of a stage pod: when its scheduling gate was removed (RFC 3339).
ANNOTATION_ADMITTED: Final = f"{API_GROUP}/admitted"

# Ports of a stage pod.
PORT_ENGINE: Final = 8000  # leader: the OpenAI routes of the engine
PORT_STATE: Final = 8080  # every stage: the supervisor's /llama/state, /live, /ready
PORT_METRICS: Final = 9000  # leader: /metrics of its engine, the same port as a gateway's
PORT_RAY_GCS: Final = 6379
PORT_RAY_DASHBOARD: Final = 8265  # leader: the Serve REST API

# Ports of a gateway pod.
PORT_GATEWAY: Final = 8000  # the OpenAI API of the users
PORT_GATEWAY_ADMIN: Final = 9000  # /load, /metrics, /live, /ready
QUERY_EXPECTED_START: Final = "expectedStart"  # of /load: seconds in which the operator expects a group to serve

# Port of the fetch proxy of a deployment.
PORT_FETCH: Final = 3128

# Files in a pod.
CELL_CONFIG_PATH: Final = "/etc/llama/cell.json"
GATEWAY_CONFIG_PATH: Final = "/etc/llama/gateway.json"
GATEWAY_MODELS_FILE: Final = "models.json"  # beside the gateway's config, read again when it changes: a ServedModels
GATEWAY_TLS_MOUNT: Final = "/etc/llama-tls"  # of a gateway with TLS: TLS_CERTIFICATE and TLS_KEY
TLS_CERTIFICATE: Final = "tls.crt"
TLS_KEY: Final = "tls.key"
TOKEN_PATH: Final = "/var/run/secrets/llama-operator.dev/token"
ENGINE_KEY_PATH: Final = "/var/run/secrets/llama-engine/key"  # stages and gateways: the key between them
FETCH_KEY_PATH: Final = "/var/run/secrets/llama-fetch/key"  # stagers and the fetch proxy, never the engine
TERMINATION_LOG: Final = "/dev/termination-log"  # made by the kubelet, which reads it when the container has ended
MODEL_MOUNT: Final = "/models"
WEIGHTS_MOUNT: Final = "/weights"  # what the stager brought: one folder per digest
ADAPTERS_FOLDER: Final = "adapters"  # in it: LoRA adapters, one folder per digest
ADAPTER_LINKS: Final = "/tmp/llama-adapters"  # verified links to them, one per digest, in the stage's container
CREDENTIALS_MOUNT: Final = "/var/run/secrets/llama-operator.dev/source"  # stager and resolver only: a file per key
STAGER_KEY_PATH: Final = "/var/run/secrets/llama-operator.dev/stager/token"  # stager only: signs desired states
TRUSTED_DESIRED_PATH: Final = "/tmp/desired.trusted"  # in the stager's own volume: the last one that it took
CONTROL_MOUNT: Final = "/run/llama"  # between the supervisor and the stager of a pod
DESIRED_PATH: Final = "/run/llama/desired.json"  # written by the supervisor: a DesiredState
SIGNED_DESIRED_PATH: Final = "/run/llama/desired.signed"  # likewise: signature, newline, body as the operator sent it
STAGING_PATH: Final = "/run/llama/staging.json"  # written by the stager: a StagingState
MANIFEST_PATH: Final = "/etc/llama/next.json"  # beside the config: WeightsArtifact that the pod starts with
CHAT_TEMPLATE_PATH: Final = "/etc/llama/chat_template.jinja"  # beside the config, where the spec names a template
CACHE_MOUNT: Final = "/cache"  # what the engine compiled, where that outlives the pod
MODEL_CONFIG_MOUNT: Final = "/model-config"  # of a rehearsal: the small files of the model, without its weights

# Environment of a stage pod.
ENV_STAGE: Final = "LLAMA_STAGE"  # index of this pod's stage, decimal
ENV_POD_IP: Final = "POD_IP"  # from the downward API
ENV_ENGINE_KEY: Final = "LLAMA_ENGINE_KEY_PATH"  # of the replica: where its supervisor finds the engine's key
ENV_FETCH_PROXY: Final = "LLAMA_FETCH_PROXY"  # of the stager: host:port of the proxy through which it reaches sources
ENV_POD_NAME: Final = "POD_NAME"  # likewise, of the stager
# Of the stager, the resolver and a rehearsal: the source is read with the pod's own identity, not as nobody.
ENV_OWN_IDENTITY: Final = "LLAMA_OWN_IDENTITY"
# Of every process but the gateway, whose log is JSON anyway: the form of the log, `json` or, unset, `text`.
ENV_LOG_FORMAT: Final = "LLAMA_LOG_FORMAT"

# Of the same: networks, with commas between them, whose addresses a source may have though they are not public.
ENV_SOURCE_NETWORKS: Final = "LLAMA_SOURCE_NETWORKS"

# Exit code of a rehearsal whose configuration the engine refuses; its termination message says why.
EXIT_REFUSED: Final = 3

# Uid and gid that stages, gateways and resolvers run as.
SERVING_UID: Final = 10001

# Routes and headers.
ROUTE_STATE: Final = "/llama/state"
ROUTE_DESIRED: Final = "/llama/desired"
ROUTE_LIVE: Final = "/live"
ROUTE_READY: Final = "/ready"
ROUTE_METRICS: Final = "/metrics"
# On the engine's port, for gateways: an answer whose first tokens are given. Clients reach only what lies below /v1/.
ROUTE_REPLAY: Final = "/llama/replay"
HEADER_GROUP: Final = "x-llama-group"
HEADER_WEIGHTS: Final = "x-llama-weights"
HEADER_SIGNATURE: Final = "x-llama-signature"  # of a desired state: config.trust.signature
HEADER_REQUEST_ID: Final = "x-request-id"
# From a gateway to an engine: the key of names.ENGINE_KEY_PATH. Never from a client to an engine.
HEADER_ENGINE_KEY: Final = "x-llama-engine-key"
# From a gateway to an engine: AdapterRef.id of the adapter that must answer; in an answer: of the one that did.
HEADER_ADAPTER: Final = "x-llama-adapter"

# Code of the error (409) of an engine that has not exactly the adapter that HEADER_ADAPTER names: another group may.
CODE_ADAPTER_ABSENT: Final = "adapter_not_here"
# Codes of a gateway's own errors (404) about the model that a request names.
CODE_MODEL_NOT_FOUND: Final = "model_not_found"
CODE_ADAPTER_REFUSED: Final = "adapter_refused"


def url_host(address: str) -> str:
    """Return the host part of a URL or of host:port: an IPv6 address needs brackets."""
    return f"[{address}]" if ":" in address else address


def weights_path(digest: str) -> str:
    """Folder of some staged weights, the same on every stage: ``WeightsRef.path`` of what was not mounted."""
    return f"{WEIGHTS_MOUNT}/{digest.removeprefix('sha256:')[:16]}"


def staged_path(digest: str, *, stage: int, stages: int) -> str:
    """Folder in it that the engine of one stage loads. On a shared claim, equal stages of all groups share it."""
    return f"{weights_path(digest)}/stage-{stage}-of-{stages}"


def adapter_path(digest: str) -> str:
    """Folder of a staged LoRA adapter, the same on every stage; beside those of weights, whose names it cannot have."""
    return f"{WEIGHTS_MOUNT}/{ADAPTERS_FOLDER}/{digest.removeprefix('sha256:')[:16]}"


def staged_adapter_path(digest: str, *, stage: int, stages: int) -> str:
    """Folder in it with what one stage loads: adapter_config.json and the tensors of its layers, as PEFT writes them.

    Every adapter lies there, also one of a claim (pvc://): the stager copies it.
    """
    return f"{adapter_path(digest)}/stage-{stage}-of-{stages}"


def adapter_link(digest: str) -> str:
    """Path by which all ranks of an engine load an adapter: a verified link to the stage's own folder."""
    return f"{ADAPTER_LINKS}/{digest.removeprefix('sha256:')[:16]}"
