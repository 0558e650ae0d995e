"""Sentences about what keeps a pod from running: what it names, its volumes, its network, its node; and how it ends.

``field`` is the field of the spec that names the object, empty where the operator names it itself. ``said`` is what
others said, where nobody can say it better.
"""

# -- what a pod names --------------------------------------------------------------------------------------------------


def object_missing(kind: str, name: str, *, namespace: str, field: str) -> str:
    where = f" in namespace {namespace}" if namespace else ""
    what = "create it, or correct the field" if field else "create it"
    return f"{_object(kind, name)} does not exist{where}{_of(field)}; {what}"


def own_object_missing(kind: str, name: str, *, namespace: str) -> str:
    return f"{_object(kind, name)} does not exist in namespace {namespace}; the operator makes it again"


def key_missing(kind: str, name: str, *, key: str, namespace: str, field: str) -> str:
    where = f" ({field})" if field else ""
    return f"the {kind} {name} in namespace {namespace} has no key {key}{where}; add the key"


def object_not_read(pod: str, *, node: str, volume: str) -> str:
    return f"pod {pod}: node {node} could not read its volume {volume} yet"


def _object(kind: str, name: str) -> str:
    return f"claim {name}" if kind == "PersistentVolumeClaim" else f"the {kind} {name}"


# -- claims and volumes ------------------------------------------------------------------------------------------------


def claim_unbound(name: str, *, namespace: str, field: str, why: str) -> str:
    who = f"claim {name} in namespace {namespace}{_of(field)}" if name else "a claim of the pod"
    return f"{who} has no volume yet: {why}"


def no_volume_matches() -> str:
    return "no PersistentVolume matches it, and nothing makes one so far"


def claim_without_class() -> str:
    return "it names no StorageClass, the cluster has no default, and no free PersistentVolume matches it"


def class_missing(name: str) -> str:
    return f"the StorageClass {name} does not exist; create it, or make the claim anew with another class"


def class_waits_for_pod() -> str:
    return "its StorageClass makes the volume when the pod has a node"


def provisioning_failed(storage_class: str, *, said: str) -> str:
    return f"the StorageClass {storage_class} could not make one: {said}"


def driver_does_not_provision(driver: str) -> str:
    return f"the provisioner {driver} has not made one; see that its driver runs"


def claim_leaving(name: str, *, namespace: str, field: str) -> str:
    return f"claim {name} in namespace {namespace}{_of(field)} is being deleted; create it anew when it is gone"


def claim_lost(name: str, *, namespace: str, volume: str, field: str) -> str:
    gone = f" {volume}" if volume else ""
    return (
        f"claim {name} in namespace {namespace}{_of(field)} has lost its PersistentVolume{gone}; create the claim anew"
    )


def claim_not_made(name: str, *, namespace: str) -> str:
    return f"claim {name} in namespace {namespace} (staging.volumeClaimTemplate) is not made yet"


def volume_in_use(volume: str, *, pods: str) -> str:
    by = f" by {pods}" if pods else ""
    return f"volume {volume} is still attached to another node{by}, and can be attached to one node only"


def attach_failed(volume: str, *, node: str, said: str) -> str:
    return f"volume {volume} cannot be attached to node {node}: {said}"


def mount_failed(volume: str, *, node: str, said: str) -> str:
    return f"volume {volume} cannot be mounted on node {node}: {said}"


def mount_denied(volume: str, *, node: str) -> str:
    return f"volume {volume} cannot be mounted on node {node}: the storage server denies access; allow it there"


def path_missing(volume: str, *, node: str, path: str) -> str:
    return f"volume {volume} cannot be mounted on node {node}: the path {path} does not exist; create it there"


def volume_slow(pod: str, *, node: str, volumes: str, waited: str) -> str:
    return f"pod {pod} waits on node {node} for volume {volumes}, {waited} so far; the node does not say why"


def driver_missing_on_node(driver: str, *, node: str) -> str:
    where = f"on node {node}" if node else "on the nodes"
    return f"the CSI driver {driver} of a volume does not run {where}; install it there"


def volume_keeps_away(pod: str, *, why: str, claims: str) -> str:
    return f"pod {pod} finds no node for its volume{claims and f' ({claims})'}: {why}"


# -- what the scheduler counts, in words that follow a number of nodes -------------------------------------------------


def without_zone_of_volume() -> str:
    return "outside the zone of the volume"


def not_reached_by_volume() -> str:
    return "that the volume cannot be used from"


def without_volume() -> str:
    return "where no PersistentVolume matches the claim"


def without_storage() -> str:
    return "without enough free storage for the claim"


def volume_object_gone() -> str:
    return "refused since the claim's PersistentVolume is gone"


def volumes_full() -> str:
    return "with as many volumes as they can attach"


def volume_of_another_pod() -> str:
    return "refused since another pod has the volume for itself"


def without_driver(driver: str) -> str:
    return f"without the CSI driver {driver}"


def too_little(resource: str) -> str:
    return f"with too little {resource} free"


def pods_full() -> str:
    return "with as many pods as they can have"


def untolerated_taint() -> str:
    return "with a taint that it does not tolerate"


def rule_of_nodes() -> str:
    return "without what the node affinity/selector asks for"


def rule_of_pods() -> str:
    return "without the pods that it must be with"


def rule_of_distance() -> str:
    return "with a pod that it must not be with"


def rule_of_spread() -> str:
    return "where pods would not be spread as asked"


def ports_taken() -> str:
    return "with its host port in use"


def device_claim() -> str:
    return "without the devices that its ResourceClaim asks for"


def room_is_made(said: str) -> str:
    return f"{said}; pods of lower priority are ended for it"


# -- network, devices, containers --------------------------------------------------------------------------------------


def network_not_ready(pod: str, *, node: str) -> str:
    return f"pod {pod} waits for the network of node {node}, which is not ready; see that its network plugin runs"


def network_failed(pod: str, *, node: str, plugin: str, said: str) -> str:
    who = f"the network plugin {plugin}" if plugin else "its network plugin"
    return f"pod {pod} gets no network on node {node}: {who} fails: {said}"


def no_address(pod: str, *, node: str) -> str:
    return f"pod {pod} gets no IP address on node {node}: none is free there"


def runtime_missing(pod: str, *, node: str, handler: str) -> str:
    return f"pod {pod}: the container runtime of node {node} has no handler {handler}; configure it there"


def sandbox_image(pod: str, *, node: str, image: str) -> str:
    return f"pod {pod}: node {node} cannot pull {image}, which every pod needs; see the node's container runtime"


def sandbox_failed(pod: str, *, node: str, said: str) -> str:
    return f"pod {pod} gets no sandbox on node {node}: {said}"


def devices_not_prepared(pod: str, *, node: str, said: str) -> str:
    return f"pod {pod} does not get its devices on node {node}: {said}"


def runs_as_root(pod: str, *, image: str) -> str:
    return f"pod {pod}: {image or 'its image'} is made to run as root, which the pod does not allow"


def program_missing(pod: str, *, program: str, image: str, field: str) -> str:
    return f"pod {pod}: {image or 'its image'} has no {program} ({field}); use an image of this operator"


def program_of_other_cpu(pod: str, *, node: str, image: str, field: str) -> str:
    return f"pod {pod}: {image or 'its image'} ({field}) is not made for the processor of node {node}"


def nvidia_runtime(pod: str, *, node: str, said: str) -> str:
    return f"pod {pod}: NVIDIA's container runtime fails on node {node}: {said}; see the driver there"


def container_name_taken(pod: str, *, node: str) -> str:
    return f"pod {pod}: node {node} is still ending an earlier container of the same name"


# -- how pods end ------------------------------------------------------------------------------------------------------


def pod_ended_by(pod: str, *, why: str) -> str:
    return f"pod {pod} ended: {why}"


def node_low(node: str, *, resource: str) -> str:
    return f"node {node} was low on {resource} and evicted it"


def volume_over_limit(volume: str, *, limit: str) -> str:
    field = {"weights": "staging.sizeLimit", "shm": "resources.sharedMemory"}.get(volume, "")
    return f"its volume {volume} grew over {limit}{field and f'; raise {field}'}"


def disk_over_limit(limit: str) -> str:
    return f"it used more of the node's disk than its limit of {limit}"


def devices_unavailable(node: str, *, resource: str, asked: str, available: str) -> str:
    return f"node {node} did not let it in: {asked} {resource} were asked for, {available} are left"


def devices_unhealthy(node: str, *, resource: str) -> str:
    return f"node {node} did not let it in: no {resource} of it is healthy; see its device plugin"


def devices_unknown(node: str, *, resource: str) -> str:
    return f"node {node} did not let it in: its device plugin for {resource} has not registered"


def node_full(node: str, *, resource: str) -> str:
    return f"node {node} did not let it in: too little {resource} was free"


def topology_refused(node: str) -> str:
    return (
        f"node {node} did not let it in: its cpus and devices cannot be given from as few NUMA nodes as its policy asks"
    )


def node_shuts_down(node: str) -> str:
    return f"node {node} shuts down"


def node_got_taint(node: str) -> str:
    return f"node {node} got a taint that it does not tolerate"


def node_refuses_labels(node: str) -> str:
    return f"node {node} has no longer the labels that it asks for"


def node_is_gone(node: str) -> str:
    return f"node {node} is gone"


def pod_evicted(node: str) -> str:
    return f"somebody evicted it from node {node}, as kubectl drain does"


def node_is_lost(node: str) -> str:
    return f"node {node} does not answer"


def pod_preempted() -> str:
    return "a pod of higher priority took its place"


def pod_deadline() -> str:
    return "it ran longer than its deadline"


def kept_by_finalizers(pod: str, *, finalizers: tuple[str, ...], waited: str) -> str:
    keeps = "finalizer of somebody else keeps" if len(finalizers) == 1 else "finalizers of others keep"
    return f"pod {pod} is deleted, and the {keeps} it ({', '.join(finalizers)}), {waited} so far"


def pod_on_lost_node(pod: str, *, node: str, age: str) -> str:
    return f"pod {pod} is on node {node}, which is not ready: its kubelet does not answer, {age} after the pod was made"


def _of(field: str) -> str:
    return f" ({field})" if field else ""
