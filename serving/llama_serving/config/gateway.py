"""The config file of a gateway, and its load as reported on its admin port."""

from typing import Any, Final

from pydantic import ConfigDict, Field

from llama_serving.config.cell import Frozen


class GatewayConfig(Frozen):
    """One gateway process. Times in seconds, sizes in bytes."""

    deployment: str
    namespace: str
    max_in_flight_per_group: int = Field(default=64, ge=1, description="this gateway's share of a group's batch")
    max_queue_length: int = Field(default=1000, ge=0, description="requests that may wait; more get 429")
    shed_after: float | None = Field(
        default=None, gt=0, description="requests that would wait longer get 429 at once; absent: they wait"
    )
    queue_timeout: float = Field(default=300, gt=0, description="longest wait of a request for a group; then 503")
    sse_keep_alive: float = Field(
        default=10, ge=0, description="period of SSE comments in a stream without a byte; 0: none"
    )
    connect_timeout: float = Field(default=2, gt=0)
    first_byte_timeout: float = Field(default=600, gt=0, description="from the request sent to the response's head")
    idle_timeout: float = Field(default=300, gt=0, description="between two pieces of a response")
    max_body: int = Field(default=32 << 20, ge=1, description="largest request body; more gets 413")
    max_held: int = Field(
        default=1 << 30,
        ge=1,
        description="bytes of all request bodies held at a time, at most what memory allows; more get 429",
    )
    max_retries: int = Field(default=10, ge=0, description="retries before the first byte")
    ejection: float = Field(default=1, gt=0, description="first pause of a group after a failure; doubles up to 30 s")
    lame_duck: float = Field(
        default=5, ge=0, description="on SIGTERM: time that the listener stays open, until no Service sends here"
    )
    drain: float = Field(default=300, gt=0, description="on SIGTERM: longest time until requests in flight have ended")
    served_name: str | None = Field(
        default=None, description="the model's name in the OpenAI API; absent: the deployment's; empty: not known"
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="scheme://host[:port], with *. before the host or not, or *: pages that may call"
    )
    memory_limit: int | None = Field(
        default=None, ge=64 << 20, description="bytes that the process may use; absent: the container's limit"
    )
    max_connections: int | None = Field(
        default=None, ge=1, description="of clients; absent, and at most: what memory and descriptors allow"
    )
    max_connections_per_peer: int | None = Field(
        default=None, ge=1, description="of one client address; absent: three quarters of all"
    )
    head_timeout: float = Field(default=30, gt=0, description="from a request's first byte to the end of its head")
    min_client_rate: int = Field(
        default=4096,
        ge=0,
        description="bytes per second of a body, and of an answer that a client leaves waiting, after client_grace; "
        "0: any",
    )
    client_grace: float = Field(default=30, gt=0, description="time in which a client may be slower than that")
    access: bool = Field(
        default=False, description="rules must have been read before anyone is answered; see config/access/rules.py"
    )
    tls: bool = Field(
        default=False, description="the port speaks TLS, with the certificate and key in GATEWAY_TLS_MOUNT"
    )

    @property
    def served_names(self) -> tuple[str, ...]:
        """The models in the OpenAI API; none where they are not known."""
        name = self.deployment if self.served_name is None else self.served_name
        return (name,) if name else ()

    def to_file(self) -> dict[str, Any]:
        """Return the config as it is written: every field, but of later ones only those that are set.

        An older gateway refuses a field that it does not know, and a hash of the config decides whether pods are
        replaced.
        """
        return self.model_dump(mode="json", exclude=set((_LATER | _UNHASHED) - self.to_wire().keys()))

    def to_hash(self) -> dict[str, Any]:
        """Return what the hash of the config is made of: a field of _UNHASHED only where it is set.

        So a new version of the operator replaces no gateway pod for a field that a spec does not use.
        """
        return self.model_dump(mode="json", exclude=set(_UNHASHED - self.to_wire().keys()))


#: Fields that the first version did not have.
_LATER: Final = frozenset({"served_name", "cors_origins"})
#: Fields that came when pods were replaced by a hash of the config already: they are in it where they are set.
_UNHASHED: Final = frozenset(
    {
        "access",
        "client_grace",
        "head_timeout",
        "max_connections",
        "max_connections_per_peer",
        "memory_limit",
        "min_client_rate",
        "shed_after",
        "tls",
    }
)


#: Bytes of a ServedModels that a gateway reads, and of an annotation with adapters.
LONGEST_MODELS: Final = 768 << 10  # a ConfigMap has at most 1 MiB
LONGEST_ADAPTERS_ANNOTATION: Final = 192 << 10  # all annotations of an object have at most 256 KiB
#: Adapters that a gateway knows at a time.
MOST_ADAPTERS: Final = 1024


class ServedAdapter(Frozen):
    """A LoRA adapter that the spec names, whether or not a group has it now."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1, max_length=253, description="its name in the OpenAI API")
    parent: str = Field(max_length=253, description="name in the OpenAI API of the base that it is for")
    refused: str = Field(
        default="", max_length=2048, description="why none can answer with it, as a clause; empty: none has refused it"
    )


class ServedModels(Frozen):
    """What a gateway finds beside its config: the names that exist, also while no group does.

    Without this file a gateway knows no names, and every name goes to an engine. A newer operator may say more.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    adapters: tuple[ServedAdapter, ...] = Field(default=(), max_length=MOST_ADAPTERS)
    max_model_len: int | None = Field(default=None, ge=1, description="tokens of prompt and answer; None: not known")


#: Upper bounds in seconds of the histogram of times to the first byte; a last class has the rest.
FIRST_BYTE_BOUNDS = (
    0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0,
)  # fmt: skip


class AnswerCounts(Frozen):
    """Answers given by some weights since this gateway started; a canary is judged by them."""

    finished: int = 0
    failed: int = Field(default=0, description="attempts that ended in an error of the group: refused, timed out, 5xx")
    continued: int = Field(default=0, description="streams begun by these weights and continued by another group")
    broken: int = Field(default=0, description="streams that no group could continue")
    first_byte: tuple[int, ...] = Field(
        default=(0,) * (len(FIRST_BYTE_BOUNDS) + 1), description="streams per class of FIRST_BYTE_BOUNDS"
    )


class WorkCount(Frozen):
    """Requests and their tokens. Prompt tokens are estimated: the gateway has no tokenizer."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = Field(default=0.0, description="time that they held a slot of a group, added up")


class AdapterLoad(Frozen):
    """Requests for one LoRA adapter; a placement decides by it which groups hold the adapter."""

    waiting: int = 0
    in_flight: int = 0
    arrived: int = Field(default=0, description="so far, each once")
    oldest_wait: float = Field(default=0.0, description="seconds; 0 when none waits")
    idle: float = Field(default=0.0, ge=0, description="seconds since one last arrived or ended; 0 while any is here")


class GroupLoad(Frozen):
    """One group as this gateway sees it."""

    name: str = Field(description="name of the leader pod")
    group: int
    weights: str
    ready: bool
    ejected: bool
    in_flight: int
    adapters: dict[str, int] = Field(
        default_factory=dict, description="of those in flight, how many are for each adapter, by its name"
    )


class CertificateState(Frozen):
    """The certificate of a gateway with TLS. Times are Unix times in seconds."""

    expires: float | None = Field(default=None, description="when the one in use does; None: there is none yet")
    fault: str = Field(
        default="", max_length=512, description="what is wrong with the mounted one, as a clause; empty: it is in use"
    )


class GatewayLoad(Frozen):
    """Answer of ``GET :9000/load``."""

    waiting: int
    oldest_wait: float = Field(description="seconds; 0 when nothing waits")
    in_flight: int
    draining: bool
    groups: tuple[GroupLoad, ...]
    totals: dict[str, int] = Field(
        description="finished, retried, continued, rejected_full, rejected_late, rejected_deadline, cancelled, broken"
    )
    by_weights: dict[str, AnswerCounts] = Field(
        default_factory=dict, description="by the id of the weights that answered, as in the header x-llama-weights"
    )
    uptime: float = Field(
        default=0.0,
        ge=0,
        description="seconds since this process started; if less than before, its counts restarted at 0",
    )
    arrived: WorkCount = Field(
        default=WorkCount(),
        description="all requests so far that needed a group, each once; answer_tokens: what they asked for",
    )
    waits: WorkCount = Field(
        default=WorkCount(), description="requests that wait now; answer_tokens: what they are expected to get"
    )
    served: WorkCount = Field(
        default=WorkCount(),
        description="all requests so far answered completely; answer_tokens: what they got",
    )
    adapters: dict[str, AdapterLoad] = Field(
        default_factory=dict, description="by name in the OpenAI API; only of adapters that were asked for"
    )
    certificate: CertificateState | None = Field(default=None, description="None: the port speaks plain HTTP")

    by_adapter: dict[str, AnswerCounts] = Field(
        default_factory=dict,
        description="by the id of the adapter that answered; the base that it is on counts them too",
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the load as it is sent: every field, but those of adapters and TLS only where there are any.

        An older operator refuses a field that it does not know.
        """
        groups = [group.model_dump(exclude=set() if group.adapters else {"adapters"}) for group in self.groups]

        absent = {name for name in ("adapters", "by_adapter", "certificate") if not getattr(self, name)}
        return {**self.model_dump(exclude=absent), "groups": groups}
