"""Every wait has its cause: recorded statuses and events of Kubernetes 1.30 and later, each with its exact sentence.

The texts have the forms that the scheduler, the kubelet, the controllers and the runtimes write; NAME stands for the
pod's name in the sentences.
"""

import pytest

from llama_operator.observe.pods import PodView, pod_view
from tests.unit.operator.waiting_pods import (
    COMPILED,
    IMAGE,
    NAME,
    OWN,
    SHARED,
    body,
    creating,
    mount,
    pull,
    said,
    unpack,
    unscheduled,
    waiting,
)

REFERENCES = [
    (mount("credentials", 'secret "hub" not found'), "ReferenceMissing",
     "the Secret hub does not exist in namespace team (model.credentialsSecret); create it, or correct the field"),
    (mount("config", 'configmap "chat-abc-0" not found'), "ReferenceMissing",
     "the ConfigMap chat-abc-0 does not exist in namespace team; the operator makes it again"),
    (mount("token", "references non-existent secret key: token"), "ReferenceMissing",
     "the Secret chat-token in namespace team has no key token; add the key"),
    (mount("credentials", "references non-existent secret key: token"), "ReferenceMissing",
     "the Secret hub in namespace team has no key token (model.credentialsSecret); add the key"),
    (mount("config", "configmap references non-existent config key: next.json"), "ReferenceMissing",
     "the ConfigMap chat-abc-0 in namespace team has no key next.json; add the key"),
    (mount("credentials", "failed to sync secret cache: timed out waiting for the condition"), "PodStarting",
     "pod NAME: node node-1 could not read its volume credentials of Secret hub yet"),
    (mount("config", 'object "team"/"chat-abc-0" not registered'), "PodStarting",
     "pod NAME: node node-1 could not read its volume config of ConfigMap chat-abc-0 yet"),
    (mount("kube-api-access-x7", 'failed to fetch token: serviceaccounts "chat-stages" not found'), "ReferenceMissing",
     "the ServiceAccount chat-stages does not exist in namespace team; the operator makes it again"),
    (waiting("CreateContainerConfigError", 'secret "hub" not found'), "ReferenceMissing",
     "the Secret hub does not exist in namespace team (model.credentialsSecret); create it, or correct the field"),
    (waiting("CreateContainerConfigError", "couldn't find key token in Secret team/hub"), "ReferenceMissing",
     "the Secret hub in namespace team has no key token (model.credentialsSecret); add the key"),
    (creating("Failed to create pod sandbox: failed to lookup RuntimeClass nvidia: runtimeclass.node.k8s.io"
              ' "nvidia" not found', reason="FailedCreatePodSandBox"), "ReferenceMissing",
     "the RuntimeClass nvidia does not exist (placement.runtimeClassName); create it, or correct the field"),
    (creating("Unable to retrieve some image pull secrets (pull); attempting to pull the image may not succeed.",
              reason="FailedToRetrieveImagePullSecret"), "ReferenceMissing",
     "the Secret pull does not exist in namespace team (images.pullSecrets); create it, or correct the field"),
]  # fmt: skip

CLAIMS = [
    (unscheduled('0/2 nodes are available: persistentvolumeclaim "llama" not found. not found'), "VolumeUnavailable",
     "claim llama does not exist in namespace team (model.source pvc://llama/...); create it, or correct the field"),
    (unscheduled('0/2 nodes are available: persistentvolumeclaim "fast" not found. preemption: 0/2 nodes are'
                 " available: 2 Preemption is not helpful for scheduling.", volumes=SHARED), "VolumeUnavailable",
     "claim fast does not exist in namespace team (staging.sharedClaimName); create it, or correct the field"),
    (unscheduled('0/2 nodes are available: persistentvolumeclaim "code" not found. not found', volumes=COMPILED),
     "VolumeUnavailable",
     "claim code does not exist in namespace team (engine.cache.claimName); create it, or correct the field"),
    (unscheduled('0/2 nodes are available: persistentvolumeclaim "llama" is being deleted. not found'),
     "VolumeUnavailable", "claim llama in namespace team (model.source pvc://llama/...) is being deleted; create it"
     " anew when it is gone"),
    (unscheduled('0/2 nodes are available: persistentvolumeclaim "llama" bound to non-existent persistentvolume'
                 ' "pv-7". not found'), "VolumeUnavailable",
     "claim llama in namespace team (model.source pvc://llama/...) has lost its PersistentVolume pv-7; create the"
     " claim anew"),
    (unscheduled("0/2 nodes are available: waiting for ephemeral volume controller to create the"
                 f' persistentvolumeclaim "{NAME}-weights". not found', volumes=OWN), "PodStarting",
     "claim NAME-weights in namespace team (staging.volumeClaimTemplate) is not made yet"),
    (unscheduled("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/2 nodes"
                 " are available: 2 Preemption is not helpful for scheduling."), "VolumeUnavailable",
     "a claim of the pod has no volume yet: no PersistentVolume matches it, and nothing makes one so far"),
    (unscheduled("0/2 nodes are available: 2 node(s) had no available volume zone."), "VolumeUnavailable",
     "pod NAME finds no node for its volume (model.source pvc://llama/...): of 2 nodes 2 outside the zone of the"
     " volume"),
    (unscheduled("0/3 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity, 1 node(s) exceed"
                 " max volume count."), "VolumeUnavailable",
     "pod NAME finds no node for its volume (model.source pvc://llama/...): of 3 nodes 2 that the volume cannot be"
     " used from, 1 with as many volumes as they can attach"),
    (unscheduled("0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."),
     "VolumeUnavailable", "pod NAME finds no node for its volume (model.source pvc://llama/...): of 1 node 1 where no"
     " PersistentVolume matches the claim"),
    (unscheduled("0/1 nodes are available: 1 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod"
                 " access mode already in-use by another pod."), "VolumeUnavailable",
     "pod NAME finds no node for its volume (model.source pvc://llama/...): of 1 node 1 refused since another pod has"
     " the volume for itself"),
    (creating("Unable to attach or mount volumes: unmounted volumes=[model], unattached volumes=[], failed to process"
              " volumes=[model]: error processing PVC team/llama: failed to fetch PVC from API server:"
              ' persistentvolumeclaims "llama" not found'), "VolumeUnavailable",
     "claim llama does not exist in namespace team (model.source pvc://llama/...); create it, or correct the field"),
    (creating("Unable to attach or mount volumes: unmounted volumes=[model], unattached volumes=[], failed to process"
              " volumes=[model]: error processing PVC team/llama: PVC is not bound"), "VolumeUnavailable",
     "claim llama in namespace team (model.source pvc://llama/...) has no volume yet: no PersistentVolume matches it,"
     " and nothing makes one so far"),
    (creating('Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) old-0-0',
              reason="FailedAttachVolume"), "VolumeUnavailable",
     "volume pvc-1 is still attached to another node by old-0-0, and can be attached to one node only"),
    (creating('Waiting for detach for volume "pvc-1" Volume is already exclusively attached to one node, waiting on'
              " detach before it can be attached to another node", reason="FailedAttachVolume"), "VolumeUnavailable",
     "volume pvc-1 is still attached to another node, and can be attached to one node only"),
    (creating('AttachVolume.Attach failed for volume "pvc-1" : rpc error: code = Internal desc = Could not attach'
              ' volume "vol-1" to node "i-1": limit reached', reason="FailedAttachVolume"), "VolumeUnavailable",
     'volume pvc-1 cannot be attached to node node-1: Could not attach volume "vol-1" to node "i-1": limit reached'),
    (mount("pv-nfs", "mount failed: exit status 32 Mounting command: mount Mounting arguments: -t nfs nas:/m /var/x"
           " Output: mount.nfs: access denied by server while mounting nas:/m"), "VolumeUnavailable",
     "volume pv-nfs cannot be mounted on node node-1: the storage server denies access; allow it there"),
    (mount("pv-nfs", "mount failed: exit status 32 Mounting command: mount Mounting arguments: -t nfs nas:/m /var/x"
           " Output: mount.nfs: mounting nas:/m failed, reason given by server: No such file or directory"),
     "VolumeUnavailable",
     "volume pv-nfs cannot be mounted on node node-1: the path nas:/m does not exist; create it there"),
    (mount("pv-nfs", "mount failed: exit status 32 Mounting command: mount Mounting arguments: -t nfs nas:/m /var/x"
           " Output: mount.nfs: Connection timed out"), "VolumeUnavailable",
     "volume pv-nfs cannot be mounted on node node-1: Connection timed out"),
    (creating('MountVolume.NewMounter initialization failed for volume "pv-local" : path "/mnt/m" does not exist'),
     "VolumeUnavailable",
     "volume pv-local cannot be mounted on node node-1: the path /mnt/m does not exist; create it there"),
    (creating('MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: attacher.MountDevice failed to'
              " create newCsiDriverClient: driver name efs.csi.aws.com not found in the list of registered CSI"
              " drivers"), "VolumeUnavailable",
     "the CSI driver efs.csi.aws.com of a volume does not run on node node-1; install it there"),
    (creating("Unable to attach or mount volumes: unmounted volumes=[model], unattached volumes=[], failed to process"
              " volumes=[]: context deadline exceeded"), "PodStarting",
     "pod NAME waits on node node-1 for volume model, 40 s so far; the node does not say why"),
]  # fmt: skip

SCHEDULER = [
    (unscheduled("0/4 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: },"
                 " 3 Insufficient nvidia.com/gpu. preemption: 0/4 nodes are available: 1 Preemption is not helpful for"
                 " scheduling, 3 No preemption victims found for incoming pod."), "Unschedulable",
     "pod NAME needs a node; scheduler: of 4 nodes 1 with the taint node-role.kubernetes.io/control-plane, which it"
     " does not tolerate, 3 with too little nvidia.com/gpu free"),
    (unscheduled("0/2 nodes are available: 2 node(s) had untolerated taint(s)."), "Unschedulable",
     "pod NAME needs a node; scheduler: of 2 nodes 2 with a taint that it does not tolerate"),
    (unscheduled("0/2 nodes are available: 1 Too many pods, 1 node(s) were unschedulable."), "Unschedulable",
     "pod NAME needs a node; scheduler: of 2 nodes 1 cordoned, 1 with as many pods as they can have"),
    (unscheduled("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."), "Unschedulable",
     "pod NAME needs a node; scheduler: of 2 nodes 2 without what the node affinity/selector asks for"),
    (unscheduled("0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."), "Unschedulable",
     "pod NAME needs a node; scheduler: of 2 nodes 2 with a pod that it must not be with"),
    (unscheduled("0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."),
     "Unschedulable", "pod NAME needs a node; scheduler: of 2 nodes 2 with its host port in use"),
    (unscheduled("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had no available volume zone."),
     "Unschedulable", "pod NAME needs a node; scheduler: of 2 nodes 1 outside the zone of the volume, 1 with too"
     " little cpu free"),
    (pod_view(body(node="", nominatedNodeName="node-2", conditions=[{
        "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}])),
     "Unschedulable", "pod NAME needs a node; scheduler: of 1 node 1 with too little cpu free; pods of lower priority"
     " are ended for it"),
    (unscheduled("0/2 nodes are available: 2 cannot allocate all claims."), "Unschedulable",
     "pod NAME needs a node; scheduler: of 2 nodes 2 without the devices that its ResourceClaim asks for"),
    (unscheduled("0/2 nodes are available: 2 something new."), "Unschedulable",
     "pod NAME needs a node; scheduler: 0/2 nodes are available: 2 something new"),
]  # fmt: skip

LACKS = "pod NAME on node node-1 has no image: "
IMAGES = [
    (pull(unpack(f"{IMAGE}: not found")),
     f"the registry has no {IMAGE} (images.serving); push it, or correct the name"),
    (waiting("ErrImagePull", "reading manifest 1 in registry.example.com/llama-serving: manifest unknown"),
     f"the registry has no {IMAGE} (images.serving); push it, or correct the name"),
    (pull(unpack("pull access denied, repository does not exist or may require authorization: server message:"
                 " insufficient_scope: authorization failed")),
     f"the registry denies {IMAGE} (images.serving), or has no such repository; the Secrets of images.pullSecrets"
     " (pull) do not allow it"),
    (pull(unpack("failed to authorize: failed to fetch anonymous token: unexpected status from GET request to"
                 " https://registry.example.com/token: 401 Unauthorized")),
     f"the registry denies {IMAGE} (images.serving), or has no such repository; the Secrets of images.pullSecrets"
     " (pull) do not allow it"),
    (pull(f'failed to pull and unpack image "{IMAGE}": failed to copy: httpReadSeeker: failed open: unexpected status'
          " code https://registry.example.com/v2/m: 429 Too Many Requests - Server message: toomanyrequests: You have"
          " reached your pull rate limit."),
     f"the registry has counted too many pulls, and asks to wait before it gives {IMAGE}; name an account in"
     " images.pullSecrets, or use a mirror"),
    (pull(f'failed to pull and unpack image "{IMAGE}": no match for platform in manifest: not found'),
     f"{IMAGE} (images.serving) is not made for the node's processor; build it for that, or choose nodes by"
     " placement.nodeSelector"),
    (waiting("InvalidImageName", f'Failed to apply default image tag "{IMAGE}": couldn\'t parse image name'
             f' "{IMAGE}": invalid reference format'), f"{IMAGE} is not an image name (images.serving)"),
    (waiting("ErrImageNeverPull", f'Container image "{IMAGE}" is not present with pull policy of Never'),
     f"{IMAGE} (images.serving) is not on the node, and images.pullPolicy is Never; load it there, or change the"
     " policy"),
    (pull(unpack('failed to do request: Head "https://registry.example.com/v2/m": tls: failed to verify certificate:'
                 " x509: certificate signed by unknown authority")),
     f"the node does not trust the certificate of the registry of {IMAGE}; add its CA on the node"),
    (pull(unpack('failed to do request: Head "https://registry.example.com/v2/m": http: server gave HTTP response to'
                 " HTTPS client")),
     f"the registry of {IMAGE} speaks HTTP where the node expects HTTPS; configure it on the node"),
    (pull(unpack('failed to do request: Head "https://registry.example.com/v2/m": dial tcp: lookup'
                 " registry.example.com on 10.0.0.2:53: no such host")),
     "the node finds no address of the registry registry.example.com"),
    (pull(unpack('failed to do request: Head "https://registry.example.com/v2/m": dial tcp 10.0.0.9:443: connect:'
                 " connection refused")),
     f"the registry of {IMAGE} is not reachable from the node: connection refused or no route"),
    (pull(unpack('failed to do request: Head "https://registry.example.com/v2/m": dial tcp 10.0.0.9:443: i/o'
                 " timeout")), f"the registry of {IMAGE} does not answer in time"),
    (waiting("RegistryUnavailable", f"image pull failed for {IMAGE} because the registry is unavailable: it is down"),
     f"the registry of {IMAGE} fails for now"),
    (waiting("SignatureValidationFailed", f"image pull failed for {IMAGE} because the signature validation failed"),
     f"the signature of {IMAGE} (images.serving) is not valid for the node's policy"),
    (pull("write /var/lib/containerd/x: no space left on device"),
     f"the node's disk has no space left for {IMAGE}; free some"),
    (waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'),
     f'ImagePullBackOff: Back-off pulling image "{IMAGE}"'),
    (waiting("ErrImagePull", "manifest unknown", container="stager"),
     "the registry has no registry.example.com/llama-gateway:1 (images.gateway); push it, or correct the name"),
]  # fmt: skip


def sandbox(text: str) -> PodView:
    return creating(f"Failed to create pod sandbox: rpc error: code = Unknown desc = {text}",
                    reason="FailedCreatePodSandBox")  # fmt: skip


NO_PYTHON = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed:"
    ' unable to start container process: error during container init: exec: "python3": executable file not found in'
    " $PATH: unknown"
)
LAST = {"terminated": {"exitCode": 128, "reason": "StartError", "message": NO_PYTHON}}
OOM = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
CONTAINERS = [
    (creating(f'Pulling image "{IMAGE}"', reason="Pulling"), "PodStarting",
     f"pod NAME pulls {IMAGE} on node node-1, 40 s so far"),
    (creating("network is not ready: container runtime network not ready: NetworkReady=false"
              " reason:NetworkPluginNotReady message:cni plugin not initialized", reason="NetworkNotReady"),
     "PodStarting",
     "pod NAME waits for the network of node node-1, which is not ready; see that its network plugin runs"),
    (sandbox('failed to setup network for sandbox "7d": plugin type="calico" failed (add): error getting'
             " ClusterInformation: connection is unauthorized"), "ContainerFailing",
     "pod NAME gets no network on node node-1: the network plugin calico fails: error getting ClusterInformation:"
     " connection is unauthorized"),
    (sandbox('failed to setup network for sandbox "7d": plugin type="aws-cni" name="aws-cni" failed (add): add cmd:'
             " failed to assign an IP address to container"), "ContainerFailing",
     "pod NAME gets no IP address on node node-1: none is free there"),
    (sandbox('failed to get sandbox runtime: no runtime for "nvidia" is configured'), "ContainerFailing",
     "pod NAME: the container runtime of node node-1 has no handler nvidia; configure it there"),
    (sandbox('failed to start sandbox "7d": failed to get sandbox image "registry.k8s.io/pause:3.10": failed to pull'
             ' image "registry.k8s.io/pause:3.10": connection refused'), "ContainerFailing",
     "pod NAME: node node-1 cannot pull registry.k8s.io/pause:3.10, which every pod needs; see the node's container"
     " runtime"),
    (sandbox("failed to create containerd task: cgroup path is gone"), "ContainerFailing",
     "pod NAME gets no sandbox on node node-1: failed to create containerd task: cgroup path is gone"),
    (creating("Failed to prepare dynamic resources: gpu.nvidia.com: device gpu-3 is in use",
              reason="FailedPrepareDynamicResources"), "ContainerFailing",
     "pod NAME does not get its devices on node node-1: gpu.nvidia.com: device gpu-3 is in use"),
    (waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod:"
             ' "chat-abc-0-0_team(u)", container: stage)'), "ContainerFailing",
     f"pod NAME: {IMAGE} is made to run as root, which the pod does not allow"),
    (waiting("RunContainerError", NO_PYTHON), "ContainerFailing",
     f"pod NAME: {IMAGE} has no python3 (images.serving); use an image of this operator"),
    (waiting("CrashLoopBackOff", "back-off 40s restarting failed container=stage", lastState=LAST), "ContainerFailing",
     f"pod NAME: {IMAGE} has no python3 (images.serving); use an image of this operator"),
    (waiting("RunContainerError", "failed to create containerd task: exec /usr/bin/python3: exec format error"),
     "ContainerFailing", f"pod NAME: {IMAGE} (images.serving) is not made for the processor of node node-1"),
    (waiting("RunContainerError", "failed to create containerd task: OCI runtime create failed: error running prestart"
             " hook #0: nvidia-container-cli: initialization error: nvml error: driver not loaded"),
     "ContainerFailing", "pod NAME: NVIDIA's container runtime fails on node node-1: initialization error: nvml error:"
     " driver not loaded; see the driver there"),
    (waiting("CreateContainerError", 'failed to reserve container name "stage_chat": name is reserved for "9f"'),
     "PodStarting", "pod NAME: node node-1 is still ending an earlier container of the same name"),
    (waiting("CrashLoopBackOff", "back-off 40s", lastState=OOM, restartCount=4), "ContainerFailing",
     "pod NAME on node node-1: CrashLoopBackOff, 4 restarts, it last ended with code 137 since it used more memory"
     " than resources.memory"),
    (waiting("PreStartHookError", "something new"), "ContainerFailing",
     "pod NAME on node node-1: PreStartHookError: something new"),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "reason", "sentence"), [*REFERENCES, *CLAIMS, *SCHEDULER, *CONTAINERS])
def test_the_sentence_of_a_cause(pod: PodView, reason: str, sentence: str) -> None:
    assert said(pod) == (reason, sentence)


@pytest.mark.parametrize(("pod", "sentence"), IMAGES)
def test_the_sentence_of_an_image(pod: PodView, sentence: str) -> None:
    assert said(pod) == ("ImageUnavailable", LACKS + sentence)
