"""CEL rules of what a stage asks for beside its GPUs: network cards for RDMA and huge pages, from an allow-list.

A device plugin may offer anything under any name, a disk of the node too. So only names are taken under which plugins
offer network devices; other devices are had through a ResourceClaimTemplate, which a cluster's administrator admits.
"""

from typing import Final

from llama_operator.api.crdgen.patterns import NAME, matches
from llama_operator.api.crdgen.rules import Rule

#: What marks a resource that is counted in bytes.
HUGE_PAGES: Final = "hugepages-"
#: Most devices of one name in a pod.
MOST_DEVICES: Final = 64

#: Prefixes of Kubernetes' device plugins for network cards: the shared RDMA plugin, SR-IOV's (NVIDIA, Mellanox, Intel,
#: Broadcom, OpenShift), AMD's, EFA's of AWS, erdma's of Alibaba, and the networks of GKE.
_NETWORK_DOMAINS: Final = (
    "rdma", "nvidia[.]com", "mellanox[.]com", "intel[.]com", "broadcom[.]com", "openshift[.]io",
    "networking[.]gke[.]io[.]networks",
)  # fmt: skip
_NETWORK_NAMES: Final = ("vpc[.]amazonaws[.]com/efa", "amd[.]com/v?nic", "aliyun/erdma")
_ALLOWED: Final = "|".join(
    (f"{HUGE_PAGES}[1-9][0-9]*[KMG]i", *_NETWORK_NAMES, f"({'|'.join(_NETWORK_DOMAINS)})/{NAME}")
)
_COMPUTES: Final = "key.matches('^[^/]*/(gpu|mig|vgpu|pgpu|sgx|qat)')"
_IS_PAGES: Final = f"key.startsWith('{HUGE_PAGES}')"
_AMOUNT: Final = "quantity(string(self[key]))"
_IS_AMOUNT: Final = "isQuantity(string(self[key]))"

EXTRA_RULES: Final = (
    Rule(
        f"self.all(key, {matches(_ALLOWED, 'key')} && !{_COMPUTES})",
        "device.extra must have names of network devices, such as rdma/hca_shared_devices_a, vpc.amazonaws.com/efa, "
        "nvidia.com/hostdev, openshift.io/mlx, or of huge pages, such as hugepages-2Mi: GPUs go into device.resource, "
        "any other device into device.claimTemplate",
    ),
    Rule(
        f"self.all(key, {_IS_PAGES} || ({_IS_AMOUNT} && {_AMOUNT}.isInteger() && "
        f"{_AMOUNT}.asInteger() >= 1 && {_AMOUNT}.asInteger() <= {MOST_DEVICES}))",
        f"device.extra must have a count from 1 to {MOST_DEVICES} for each device, such as rdma/hca: 1",
    ),
    Rule(
        f"self.all(key, !{_IS_PAGES} || ({_IS_AMOUNT} && {_AMOUNT}.compareTo(quantity('2Mi')) >= 0 && "
        f"{_AMOUNT}.compareTo(quantity('1Ti')) <= 0))",
        "device.extra must have a size from 2Mi to 1Ti for huge pages, such as hugepages-2Mi: 5Gi",
    ),
)
