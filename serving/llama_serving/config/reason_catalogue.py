"""The catalogue of reasons: what each word of ``reasons`` means, what its sentence looks like, and what to do.

The order of the entries is the order in which a user should look when several things hold at once. From it follow
``PRIORITY``, ``FAILURES`` and ``SETBACKS``; docs/reference/reasons.md is generated from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from llama_serving.config.reasons import (
    CellReason,
    EventReason,
    Reason,
    ReportReason,
    RotationReason,
    ScaleReason,
    StagingReason,
)


class Severity(StrEnum):
    """Whether somebody has to act."""

    NEEDS_SOMEBODY = "needs somebody"  # it stays until a user changes something
    FAILED = "failed"  # something failed; it is tried again, or rolled back, without a user
    WAITS = "waits"  # it ends by itself
    INFO = "info"  # nothing is waited for


#: Who says the words of each enum.
SPEAKERS: Final[Mapping[type[StrEnum], str]] = {
    Reason: "operator",
    CellReason: "cell",
    ReportReason: "resolver",
    StagingReason: "stager",
    ScaleReason: "autoscaler",
    EventReason: "event",
    RotationReason: "pod condition",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One reason. ``form``: what its sentence looks like, NAMES in capitals, N and T for numbers."""

    word: StrEnum
    severity: Severity
    form: str
    meaning: str
    remedy: str = ""
    page: str = ""  # page of the documentation with more
    shown_as: Reason | None = None  # the operator's word for it; None: its own where it has one
    rolls_back: bool = False  # a rollout is given up by it, and the groups go back to the last good template

    @property
    def said_by(self) -> tuple[str, ...]:
        """Everybody whose words include this one."""
        return tuple(who for words, who in SPEAKERS.items() if self.word in list(words))


_NEEDS, _FAILED, _WAITS, _INFO = Severity.NEEDS_SOMEBODY, Severity.FAILED, Severity.WAITS, Severity.INFO

# fmt: off
ENTRIES: Final[tuple[Entry, ...]] = (
    Entry(word=Reason.ACCESS_UNREADABLE, severity=_NEEDS, page="keys",
          form="spec.access needs Secrets that the operator may not list, watch and patch; REMEDY",
          meaning="changes of keys do not reach the gateways: the operator may not read the Secrets with keys, or not"
                  " write the one that gateways read; gateways go by the rules that they have",
          remedy="install the chart with `rbac.accessKeys=true`; a Secret that the message names is somebody else's:"
                 " rename it"),
    Entry(word=Reason.API_REJECTED, severity=_NEEDS, form="KIND NAME was refused: MESSAGE OF THE API SERVER",
          meaning="the API server or a policy (quota, Pod Security, admission) refused an object of the operator",
          remedy="read the message, which is theirs; raise the quota, or label the namespace"),
    Entry(word=Reason.SPEC_INVALID, severity=_NEEDS, form="FIELD is VALUE: RULE",
          meaning="the object was stored under older rules, and today's rules refuse it; or a field that holds JSON as"
                  " text holds none, which the API server cannot see",
          remedy="edit the field that the message names"),
    Entry(word=Reason.MODEL_REFUSED, severity=_NEEDS, form="FILE has VALUE; REMEDY",
          meaning="the folder holds no Llama model that can be served safely: not LlamaForCausalLM, pickles only,"
                  " Python files or `auto_map`, a LoRA adapter alone, a quantization or a rotary embedding that the"
                  " engine does not know; or the engine cannot serve it as asked",
          remedy="the message names the file or the field; use another model, or remove what it names"),
    Entry(word=Reason.LAYOUT_REFUSED, severity=_NEEDS, form="spec.FIELD is N, but the model has N; use at most N",
          meaning="`sharding`, `contextLength`, `device` or `engine.quantization` contradicts the model's config; or a"
          " memory, disk or KV cache is below what the weights, or one request of `contextLength`, take",
          remedy="use a value that the message says fits"),
    Entry(word=Reason.TOOLS_REFUSED, severity=_NEEDS, page="tools",
          form="spec.model.tools is PARSER, which needs the token TOKEN, and the model's tokenizer lacks it; REMEDY",
          meaning="`model.tools`, `model.reasoning` or `model.chatTemplate` does not fit the model: its tokenizer lacks"
                  " what the parser needs, or its chat template takes no tools",
          remedy="use a value that the message says fits, or `auto`"),
    Entry(word=Reason.IMAGE_REFUSED, severity=_NEEDS, rolls_back=True,
          form="images.serving holds vLLM for DEVICE, and device.resource is RESOURCE; REMEDY",
          meaning="the image of the stages is built for CPU and the deployment asks for GPUs, or the reverse; or the"
                  " operator has no image for the device",
          remedy="leave `images.serving` empty for the operator's image, or name one that is built for the device"),
    Entry(word=Reason.WEIGHTS_MISSING, severity=_NEEDS, form="FOLDER holds no FILE: REMEDY",
          meaning="nothing is at the path in the claim, or files that the index names are missing",
          remedy="check `model.source`, and copy the whole model"),
    Entry(word=Reason.WEIGHTS_UNREADABLE, severity=_NEEDS, form="FILE cannot be read: CAUSE; REMEDY",
          meaning="files are there, and uid 10001 may not read them; or they are no safetensors files",
          remedy="run `chmod -R a+rX` on the folder; copy the file again where the message says that it is damaged"),
    Entry(word=Reason.WEIGHTS_DENIED, severity=_NEEDS, rolls_back=True, form="GET URL was answered 401: REMEDY",
          meaning="the source of the weights wants credentials that it did not get: 401, 403, a gated model",
          remedy="the message says which file and which Secret, and which keys are missing"),
    Entry(word=Reason.SECRET_NOT_ALLOWED, severity=_NEEDS,
          form="Secret NAME may not be sent to a source: it has no label llama-operator.dev/source",
          meaning="the spec names a Secret as credentials, and the Secret's owner has not said that it may be sent to"
                  " this source; nothing was sent, and groups that serve go on",
          remedy="who may change the Secret labels it; `llama-operator.dev/source-hosts` on it says where it may go",
          page="threat-model"),
    Entry(word=Reason.WEIGHTS_GONE, severity=_NEEDS, rolls_back=True, form="GET URL was answered 404: REMEDY",
          meaning="the source of the weights has no such bucket, repository, revision or file, or has it no more",
          remedy="the message says which file; check `model.source` and `model.revision`"),
    Entry(word=Reason.WEIGHTS_REFUSED, severity=_NEEDS, rolls_back=True,
          form="group N stage K cannot stage WEIGHTS: CAUSE",
          meaning="weights came, and are not what their manifest says, or cannot be kept", remedy="upload them again"),
    Entry(word=Reason.DIGEST_DIFFERS, severity=_NEEDS, rolls_back=True,
          form="FILE has sha256 DIGEST, the manifest says DIGEST",
          meaning="weights came, and their bytes, size or header are not what the manifest, the source's list or the"
                  " spec says", remedy="upload them again, or give the new ones a revision of their own"),
    Entry(word=Reason.DISK_FULL, severity=_NEEDS, rolls_back=True, form="N bytes are needed, N are free of N",
          meaning="the weights do not fit beside those that serve",
          remedy="the message has the bytes; raise `staging`"),
    Entry(word=Reason.SWAP_FAILED, severity=_FAILED, rolls_back=True, page="rollouts",
          form="group N could not load WEIGHTS: CAUSE",
          meaning="new weights were tried and rolled back: the engine could not load them",
          remedy="read which stage failed and why; publish other weights"),
    Entry(word=Reason.VERIFY_FAILED, severity=_FAILED, rolls_back=True, page="rollouts",
          form="group N does not pass on WEIGHTS: MEASURED AND ALLOWED VALUE",
          meaning="the engine answers, and not as `verify` asks; in a rollout the new weights are rolled back",
          remedy="compare the measured value with `verify`; correct the weights or the limit"),
    Entry(word=Reason.SERVING_IMAGE_TOO_OLD, severity=_FAILED, rolls_back=True, page="rollouts",
          form="group N does not pass on WEIGHTS: its serving image is older than FIELD",
          meaning="the cell of the group does not know what the spec asks it to do, and took no desired state",
          remedy="take a serving image of the operator's version (`images.serving`), or leave the field out"),
    Entry(word=Reason.CANARY_FAILED, severity=_FAILED, rolls_back=True, page="rollouts",
          form="the canary of WEIGHTS failed: N of N requests failed",
          meaning="the first groups on the new weights did worse than `rollout.canary` allows; they are rolled back",
          remedy="correct the weights or the limits"),
    Entry(word=Reason.ROLLOUT_HELD, severity=_NEEDS, page="rollouts",
          form="spec.rollout.FIELD is VALUE, but CONTRADICTION; REMEDY",
          meaning="a rollout waits for you: as the spec asks for it, it cannot be done, such as `inPlace` for another"
                  " image",
          remedy="change the field that the message names"),
    Entry(word=Reason.OUTAGE_NOT_ACCEPTED, severity=_NEEDS, page="rollouts",
          form="CAUSE, and the only group that serves would be gone for about N s; REMEDY",
          meaning="a rollout waits for you: there is no room for a second group, and it never takes the only one that"
                  " serves by itself",
          remedy="free the devices of one group, or accept the outage with `rollout.strategy: drain`"),
    Entry(word=Reason.ENGINE_CONFIG_REFUSED, severity=_NEEDS, page="rollouts",
          form="the engine refuses the configuration: MESSAGE OF THE ENGINE",
          meaning="the new image was given the new options and the model's config without a device, and refuses them;"
                  " nothing that serves was touched",
          remedy="correct the field that the engine's message is about"),
    Entry(word=Reason.REHEARSAL_FAILED, severity=_NEEDS, page="rollouts",
          form="pod NAME of the rehearsal ended on node NAME with exit code N: MESSAGE",
          meaning="the rehearsal of a rollout ended without a verdict; it is tried again at growing pauses",
          remedy="read the message; `rollout.rehearsal: false` goes on without it"),
    Entry(word=Reason.IMAGE_UNAVAILABLE, severity=_NEEDS, form="pod NAME on node NAME has no image: MESSAGE",
          meaning="a node cannot get the image", remedy="read the kubelet's words in the message; correct the image"),
    Entry(word=Reason.REFERENCE_MISSING, severity=_NEEDS,
          form="the KIND NAME does not exist in namespace NAME (spec.FIELD); REMEDY",
          meaning="something that a pod names is not there: a Secret, a ConfigMap, a key in one of them, a"
                  " ServiceAccount, a RuntimeClass or a PriorityClass",
          remedy="create what the message names, or correct the field that names it"),
    Entry(word=Reason.VOLUME_UNAVAILABLE, severity=_NEEDS,
          form="claim NAME does not exist in namespace NAME (spec.FIELD); REMEDY",
          meaning="the claim does not exist or does not bind, or its volume cannot be attached or mounted",
          remedy="create the claim in the deployment's namespace; for a volume read what the message quotes"),
    Entry(word=Reason.CONTAINER_FAILING, severity=_NEEDS,
          form="pod NAME on node NAME: MESSAGE, N restarts, it last ended with code N: LAST WORDS",
          meaning="a container ends again and again", remedy="read its last words; `kubectl logs --previous` has more"),
    Entry(word=Reason.NODE_LEFT, severity=_FAILED, page="bad-nodes",
          form="group N leaves node NAME: N device faults there, the last T ago: LAST FAULT",
          meaning="devices of a node failed a group again and again: its pods go, and come again on other nodes",
          remedy="repair the node that the message names, or cordon it; its strikes fade with time"),
    Entry(word=Reason.DEVICES_MISSING, severity=_FAILED, rolls_back=True, page="bad-nodes",
          form="group N stage K on NODE: N of N devices are there; REMEDY",
          meaning="no driver reaches the container, or another number of devices than the stage was given",
          remedy="check driver, container toolkit, device plug-in and runtime class of the node"),
    Entry(word=Reason.DRIVER_TOO_OLD, severity=_FAILED, rolls_back=True, page="bad-nodes",
          form="group N stage K on NODE: the NVIDIA driver is VERSION, the engine's CUDA needs at least N",
          meaning="the driver of the node is older than the CUDA of the image needs",
          remedy="upgrade the driver of the node"),
    Entry(word=Reason.DEVICE_UNHEALTHY, severity=_FAILED, rolls_back=True, page="bad-nodes",
          form="group N stage K on NODE: device N (UUID): WHAT IS WRONG; REMEDY",
          meaning="the driver reports errors of a device, wants it reset, or fails in a call",
          remedy="reset the device or replace it; the message has its uuid"),
    Entry(word=Reason.DEVICE_BUSY, severity=_FAILED, rolls_back=True, page="bad-nodes",
          form="group N stage K on NODE: device N (UUID): N of N are free, the engine takes N; REMEDY",
          meaning="another process has the memory of a device, or its compute mode keeps the engine out",
          remedy="end the process on the node, or lower `engine.gpuMemoryUtilization`"),
    Entry(word=Reason.UNSCHEDULABLE, severity=_NEEDS, page="capacity",
          form="group N needs N x N RESOURCE, N are free; of N nodes NAME comes closest: N free of N, N short",
          meaning="no node may run a group, or would hold it even if it were empty",
          remedy="the message says what is short, and where it comes closest"),
    Entry(word=Reason.WAITING_FOR_ROOM, severity=_NEEDS, page="capacity",
          form="group N needs N x N RESOURCE, N are free: NODE has N in use by PODS",
          meaning="a group, or a rollout, waits for devices that others have",
          remedy="free the devices of the pods that the message names, or add nodes; for a rollout see its strategy"),
    Entry(word=Reason.ENGINE_FAILED, severity=_FAILED, rolls_back=True, form="group N stage K on NODE: LAST ERROR",
          meaning="the engine started and failed; it is tried again",
          remedy="its last error is in the message; `kubectl logs` of the leader has the rest"),
    Entry(word=Reason.ENGINE_HUNG, severity=_FAILED,
          form="group N stage K on NODE: rank N is stopped (state T) for N s, N s after step N; it is ended and starts"
               " again",
          meaning="a process of the group does nothing although work waits for it: it is ended, and its group is out"
                  " of rotation until the engine has started again",
          remedy="wait; where it comes back on one node, look at that node's kernel log and devices"),
    Entry(word=Reason.ENGINE_UNHEALTHY, severity=_FAILED,
          form="group N stage K on NODE: the engine has not answered for N s, with N requests in flight",
          meaning="the engine answered once and does not now; it is started again",
          remedy="wait, then read `kubectl logs` of the leader"),
    Entry(word=Reason.POD_LOST, severity=_FAILED, form="group N is rebuilt: CAUSE; N of its N pods are still to go",
          meaning="a pod was deleted, evicted, or is on a lost node: its group is rebuilt", remedy="wait"),
    Entry(word=Reason.ADAPTER_REFUSED, severity=_NEEDS, page="adapters",
          form="adapter NAME is left out: FILE has VALUE; REMEDY",
          meaning="a LoRA adapter cannot be served: not as PEFT's plain LoRA, not on this base, or there is no room for"
                  " its rank; the base and the other adapters go on serving",
          remedy="the message names the file, the field or the tensor, and what it must be"),
    Entry(word=Reason.ADAPTER_MISSING, severity=_NEEDS, page="adapters",
          form="adapter NAME is left out: there is no LlamaAdapter NAME in namespace NAME; REMEDY",
          meaning="`spec.adapters` names a LlamaAdapter that is not there; the base and the other adapters go on"
                  " serving",
          remedy="apply the LlamaAdapter, or remove it from `spec.adapters`"),
    Entry(word=Reason.POLICIES_NOT_ENFORCED, severity=_NEEDS, page="threat-model",
          form="POD accepted a connection to port N, which its NetworkPolicy forbids",
          meaning="the condition NetworkPolicyEnforced is False: the cluster's network enforces no NetworkPolicies,"
                  " or not between the operator and the groups; engines still ask for their key",
          remedy="install a network plugin that enforces NetworkPolicies; set `walls.engineKey: required`"),
    Entry(word=Reason.NO_KEY, severity=_NEEDS, page="keys",
          form="spec.access.mode is keys and 0 keys are ready, so no request is taken; REMEDY",
          meaning="no Secret with the labels of `spec.access.keys` holds a key that may call",
          remedy="create a Secret with the labels that the message names"),
    Entry(word=Reason.KEY_REFUSED, severity=_NEEDS, page="keys",
          form="the key in Secret NAME may not call: CAUSE; REMEDY",
          meaning="a Secret with the labels of `spec.access.keys` holds no usable key; the other keys go on working. Of"
                  " the condition AccessReady and of `status.access.refused` only",
          remedy="correct the Secret that the message names, or remove its labels"),
    Entry(word=Reason.CERTIFICATE_REFUSED, severity=_NEEDS, page="gateway",
          form="gateway NAME cannot use Secret NAME (spec.gateway.tls.secretName): CAUSE",
          meaning="certificate and key of `spec.gateway.tls` cannot be read, do not belong together or are over; the"
                  " last good certificate is shown on",
          remedy="put a certificate in PEM and its key into the Secret; gateways take it within two minutes"),
    Entry(word=Reason.ROUTE_UNAVAILABLE, severity=_NEEDS, page="gateway",
          form="spec.gateway.route asks for an HTTPRoute, and this cluster has no GROUP; REMEDY",
          meaning="`spec.gateway.route` or `spec.gateway.ingress` cannot be made, or a Gateway does not accept the"
                  " route; the Service goes on answering in the cluster",
          remedy="install the CRDs of the Gateway API; for a route that is not accepted read what the message quotes"),
    Entry(word=Reason.FABRIC_UNUSED, severity=_NEEDS,
          form="group N sends between its N nodes by TCP (NCCL took NET/Socket on stages K), although its pods have"
               " RESOURCES",
          meaning="a group over several nodes serves, and its pods have devices of a fast network that NCCL does not"
                  " use",
          remedy="read `NET/` in `/tmp/llama-nccl/*.log` of the stage's pod; check the driver of the network on the"
                 " node, and that the resource is of it"),
    Entry(word=Reason.CACHE_UNUSED, severity=_NEEDS, form="group N stage K: CAUSE (engine.cache)",
          meaning="a group serves, and what its engine compiled lies in its pod, not on the volume of engine.cache",
          remedy="see that the volume can be written by uid 10001 and has 2 GB free; the next start tries it again"),
    Entry(word=Reason.API_RETRY, severity=_WAITS, form="KIND NAME will be tried again: CAUSE",
          meaning="the API server did not take a write, or a pod did not take its desired state; it is repeated"),
    Entry(word=Reason.STAGE_NOT_JOINED, severity=_WAITS,
          form="group N stage K on NODE: N of N stages have joined; waiting for stage K, N s so far",
          meaning="the leader waits for its other stages", remedy="look at the pod that the message names"),
    Entry(word=Reason.ENGINE_STARTING, severity=_WAITS,
          form="group N stage K on NODE: the engine is starting, N s so far", meaning="weights are loaded",
          remedy="wait; the message has the seconds so far"),
    Entry(word=Reason.POD_STARTING, severity=_WAITS, form="pod NAME gets its containers on node NAME, N s so far",
          meaning="pods are made, images pulled, volumes mounted"),
    Entry(word=Reason.INSPECTING_MODEL, severity=_WAITS,
          form="checking the weights of SOURCE at REVISION; no device is requested until they pass",
          meaning="a pod without a device reads the model's config"),
    Entry(word=Reason.ROLLING_BACK, severity=_WAITS, page="rollouts", form="rollout of WEIGHTS: RollingBack, CAUSE",
          meaning="a rollout was given up, and its groups go back to what served before",
          remedy="wait; the reason of the rollout says what failed"),
    Entry(word=Reason.VERIFYING, severity=_WAITS, form="group N: running N golden prompts on WEIGHTS",
          meaning="the engine answers, and is measured before it gets requests"),
    Entry(word=Reason.SWAPPING, severity=_WAITS, form="group N: loading WEIGHTS in place of WEIGHTS",
          meaning="a group is out of rotation to load other weights"),
    Entry(word=Reason.STAGING_WEIGHTS, severity=_WAITS, form="group N stages WEIGHTS, N% of N bytes",
          meaning="weights are brought into the pods, or verified there, beside those that serve"),
    Entry(word=Reason.LOADING_ADAPTERS, severity=_WAITS, page="adapters",
          form="adapter NAME: N of N groups have it; CAUSE",
          meaning="a LoRA adapter is resolved, brought into the pods, loaded, or verified in them; a request for it"
                  " waits, all others are answered"),
    Entry(word=Reason.CANARY, severity=_WAITS, page="rollouts", form="N groups serve WEIGHTS and are watched for N s",
          meaning="the first groups have the new weights, and are watched before the others change"),
    Entry(word=Reason.REHEARSING, severity=_WAITS, page="rollouts",
          form="rehearsal of WEIGHTS: N of N steps passed, CAUSE",
          meaning="before a group is touched, image, configuration, admission and references of the new one are tried"),
    Entry(word=Reason.ROLLING_OUT, severity=_WAITS, page="rollouts",
          form="N of N groups have WEIGHTS, before it was WEIGHTS",
          meaning="groups change one after the other; of autoscaling: fewer groups would do, and none goes while a"
                  " rollout is under way or paused"),
    Entry(word=Reason.ROLLOUT_PAUSED, severity=_WAITS, page="rollouts",
          form="spec.rollout.paused holds the rollout of WEIGHTS",
          meaning="a rollout waits for you: `rollout.paused` or `rollout.partition` keeps it",
          remedy="set `rollout.paused` to false, or lower `rollout.partition`"),
    Entry(word=Reason.REPLACING, severity=_WAITS, form="group N drains: pods HASH are replaced by HASH",
          meaning="groups go to a new pod template, one at a time"),
    Entry(word=Reason.SCALING_DOWN, severity=_WAITS,
          form="group N is above the N that spec.replicas asks for: it drains",
          meaning="groups above the wanted number drain"),
    Entry(word=Reason.GATEWAY_NOT_READY, severity=_WAITS,
          form="0 of N gateways are ready, so no request is answered; CAUSE",
          meaning="no gateway pod answers, so no request is answered",
          remedy="read `kubectl describe deployment NAME-gateway`"),
    Entry(word=Reason.GATEWAY_STARTING, severity=_WAITS,
          form="N of N gateways run as the spec asks and are ready; CAUSE",
          meaning="gateway pods start, or are replaced after a change; the others answer meanwhile",
          remedy="wait; else read `kubectl describe deployment NAME-gateway`"),
    Entry(word=Reason.APPLYING, severity=_WAITS, form="N objects were not as the spec wants and had to be written",
          meaning="the operator has just written objects; of the condition Reconciling only"),
    Entry(word=Reason.POLICIES_NOT_TRIED, severity=_INFO, page="threat-model",
          form="no group serves, so no connection that a NetworkPolicy forbids was tried",
          meaning="the condition NetworkPolicyEnforced is Unknown"),
    Entry(word=Reason.POLICIES_ENFORCED, severity=_INFO, page="threat-model",
          form="POD did not accept a connection to port N, which its NetworkPolicy forbids",
          meaning="the condition NetworkPolicyEnforced is True"),
    Entry(word=Reason.SCALED_TO_ZERO, severity=_INFO, page="autoscaling", form="no group is wanted: CAUSE",
          meaning="no group is wanted, and none is there",
          remedy="with autoscaling the first request starts a group; else raise `replicas`"),
    Entry(word=Reason.SERVING, severity=_INFO, form="N groups serve from N nodes",
          meaning="all groups serve; of a stage: its engine answers"),

    Entry(word=CellReason.RAY_STARTING, severity=_WAITS, shown_as=Reason.ENGINE_STARTING,
          form="Ray is starting, N s so far", meaning="the processes of Ray start, or join the leader"),
    Entry(word=CellReason.STAGES_NOT_JOINED, severity=_WAITS, shown_as=Reason.STAGE_NOT_JOINED,
          form="N of N stages have joined; waiting for stage K, N s so far",
          meaning="the leader waits for its other stages"),
    Entry(word=CellReason.LEADER_NOT_REACHED, severity=_WAITS, shown_as=Reason.STAGE_NOT_JOINED,
          form="leader NAME is not reached (CAUSE), N s so far", meaning="the leader's pod does not answer yet"),
    Entry(word=CellReason.WEIGHTS_STAGING, severity=_WAITS, shown_as=Reason.STAGING_WEIGHTS,
          form="stage K: N of N bytes", meaning="weights are on their way into the pod, or are verified in it"),
    Entry(word=CellReason.DRAINING, severity=_WAITS, shown_as=Reason.REPLACING,
          form="stopping; N requests in flight, N of at most N s",
          meaning="the pod was told to end: no new requests, those in flight end"),

    Entry(word=StagingReason.WEIGHTS_BUSY, severity=_WAITS, form="GET URL was answered 429, asked to wait N s",
          meaning="the source was asked too often, or is overloaded; it is asked again"),
    Entry(word=StagingReason.WEIGHTS_BROKEN, severity=_FAILED, form="GET URL failed: CAUSE",
          meaning="the connection to the source ended again and again, or the volume failed; it is tried again"),
    Entry(word=StagingReason.STAGED_BY_OTHER, severity=_WAITS,
          form="pod NAME brings these weights into the shared folder; last sign of it N s ago",
          meaning="another pod stages the weights into the claim that both share"),
    Entry(word=StagingReason.NOT_SIGNED, severity=_NEEDS,
          form="nothing is read from SOURCE: the desired state is not the operator's last one (CAUSE)",
          meaning="a stager takes a new source only from a desired state that the operator signed; what serves goes on",
          remedy="use serving and gateway images of one version, and an operator that is not older; after a change of "
          "the key it passes by itself within two minutes"),

    Entry(word=ReportReason.RESOLVING, severity=_WAITS, shown_as=Reason.INSPECTING_MODEL,
          form="pod NAME on node NAME resolves the weights, N s so far", meaning="a Job reads the source"),
    Entry(word=ReportReason.ACCEPTED, severity=_INFO, form="ARCHITECTURE of N layers: N bytes in N files",
          meaning="the weights are what was asked for, and their manifest is stored"),
    Entry(word=ReportReason.LICENSE_REFUSED, severity=_NEEDS, shown_as=Reason.MODEL_REFUSED,
          form="the files name license NAME, NAME was accepted",
          meaning="the model's own files name other licenses than the accepted one, or one that cannot be read",
          remedy="read the license, and name it in `acceptLicense`"),
    Entry(word=ReportReason.DIGEST_UNKNOWN, severity=_NEEDS, shown_as=Reason.MODEL_REFUSED,
          form="SOURCE lists no sha256 of N files: REMEDY",
          meaning="`check: listing` at a source that lists no sha256", remedy="use `check: full`"),

    Entry(word=ScaleReason.BEGINS, severity=_INFO, page="autoscaling", form="autoscaling begins with N groups",
          meaning="autoscaling was switched on"),
    Entry(word=ScaleReason.FIRST_REQUEST, severity=_INFO, form="N groups for N requests in flight and N waiting",
          meaning="there was no group, and a request waits"),
    Entry(word=ScaleReason.REQUESTS_WAIT, severity=_INFO, form="N groups for N requests in flight and N waiting",
          meaning="what waits takes too long for the groups that are there or starting"),
    Entry(word=ScaleReason.FORECAST, severity=_INFO, form="N groups for about N requests at a time within N s",
          meaning="the load takes more groups, now or by the time that they have started"),
    Entry(word=ScaleReason.RULE, severity=_INFO, page="autoscaling", form="N groups by the rule that is followed (…)",
          meaning="the rule that would have kept the promise for the fewest groups asks for so many"),
    Entry(word=ScaleReason.AT_MINIMUM, severity=_INFO, form="N groups: minReplicas or a schedule asks for at least N",
          meaning="`minReplicas` or a schedule asks for more than the load"),
    Entry(word=ScaleReason.AT_MAXIMUM, severity=_NEEDS,
          form="N groups, as many as maxReplicas allows; the load takes more",
          meaning="the load takes more groups than `maxReplicas` allows",
          remedy="raise `maxReplicas`, or let requests wait"),
    Entry(word=ScaleReason.NO_ROOM, severity=_NEEDS, page="capacity",
          form="N groups: N of them wait for capacity, so no further one is created",
          meaning="a group waits for room: no further one is asked for", remedy="read the group's message"),
    Entry(word=ScaleReason.WARMING_UP, severity=_WAITS, form="N groups, some of them starting; a start takes N s",
          meaning="groups are starting"),
    Entry(word=ScaleReason.HOLDS_LOAD, severity=_INFO, form="N groups hold the load",
          meaning="the groups that serve are enough"),
    Entry(word=ScaleReason.LESS_LOAD, severity=_INFO,
          form="N groups instead of N: no more than N were needed within N s",
          meaning="the rest holds the load with room to spare: a group goes"),
    Entry(word=ScaleReason.COOLDOWN, severity=_WAITS,
          form="N groups; scale-down possible, cooldown N s after the last scale-up",
          meaning="fewer groups may do, and the last change is not long ago"),
    Entry(word=ScaleReason.MEASURING, severity=_WAITS,
          form="N groups: fewer may do; known when the load was seen for N s",
          meaning="fewer groups may do, and the load was not seen for long enough, as after a restart"),
    Entry(word=ScaleReason.IDLE, severity=_INFO, form="0 groups: no request for N s, idleAfterSeconds is N",
          meaning="no request for `idleAfterSeconds`: the last group goes, or is gone"),
    Entry(word=ScaleReason.AWAITS_RETURN, severity=_WAITS,
          form="N groups, kept for requests that left without an answer and may come back",
          meaning="requests left without an answer while a group started: it stays for them, for 65 min at most"),
    Entry(word=ScaleReason.START_FAILED, severity=_NEEDS, page="autoscaling",
          form="0 groups: N starts for a request in a row did not come to serve",
          meaning="a group that started for a request did not come to serve and was given up; the next one is started "
          "after a pause that doubles from 1 min to 1 h",
          remedy="read the events and `kubectl logs` of the group while the next one starts; correct the spec"),
    Entry(word=ScaleReason.UNKNOWN, severity=_WAITS, form="N groups, none goes: no answer from GATEWAY",
          meaning="a gateway does not answer: no group goes"),

    Entry(word=EventReason.SCALED_UP, severity=_INFO, form="N to N groups: CAUSE",
          meaning="autoscaling asks for more groups"),
    Entry(word=EventReason.SCALED_DOWN, severity=_INFO, form="N to N groups: CAUSE",
          meaning="autoscaling asks for fewer groups"),
    Entry(word=EventReason.VERIFIED, severity=_INFO, form="group N on WEIGHTS: N of N golden prompts passed",
          meaning="a group passed its verification"),
    Entry(word=EventReason.ROLLOUT_DONE, severity=_INFO, form="rollout of WEIGHTS: Done, N groups serve WEIGHTS",
          meaning="all groups have what the spec asks for"),
    Entry(word=EventReason.RULE_CHANGED, severity=_INFO, page="autoscaling",
          form="RULE: with the load of about the last N h M % in time",
          meaning="autoscaling follows another rule, which would have kept the promise for fewer groups"),
    Entry(word=EventReason.NODE_AVOIDED, severity=_INFO, page="bad-nodes",
          form="node NAME has N strikes and is avoided for a time: LAST FAULT",
          meaning="devices of the node have failed a group twice in a short time: new pods go to other nodes"),
    Entry(word=RotationReason.IN_ROTATION, severity=_INFO, form="group N on WEIGHTS: N of N golden prompts passed",
          meaning="the group gets requests"),
    Entry(word=RotationReason.OUT_OF_ROTATION, severity=_WAITS, form="group N: taken out of rotation to load WEIGHTS",
          meaning="the group gets no new requests"),
)
# fmt: on

CATALOGUE: Final[Mapping[str, Entry]] = {entry.word.value: entry for entry in ENTRIES}

#: Place of each of the operator's reasons in the order in which a user should look.
PRIORITY: Final[Mapping[Reason, int]] = {
    entry.word: index for index, entry in enumerate(ENTRIES) if isinstance(entry.word, Reason)
}

#: Reasons that make an object Degraded, as opposed to waits that end by themselves.
FAILURES: Final = frozenset(
    reason for reason in Reason if CATALOGUE[reason].severity in (Severity.NEEDS_SOMEBODY, Severity.FAILED)
)

#: Reasons by which a rollout is given up, and the groups go back to the last good template.
SETBACKS: Final = frozenset(reason for reason in Reason if CATALOGUE[reason].rolls_back)

_SHOWN: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason} | {
    entry.word.value: entry.shown_as for entry in ENTRIES if entry.shown_as is not None
}


def reason_from(word: str, *, otherwise: Reason) -> Reason:
    """Return the operator's reason for a word of another part; ``otherwise`` for one that it does not know."""
    return _SHOWN.get(word, otherwise)
