"""The variables of NCCL, UCX and Gloo that a user may set, each with the form of its values; and the CEL rules of them.

Left out is what names a file or a library (``NCCL_TOPO_FILE``, ``NCCL_DEBUG_FILE``, ``NCCL_CONF_FILE``, the tuner and
profiler plug-ins), and what the operator computes. Source: NCCL's, UCX's and Gloo's lists of environment variables.
"""

from dataclasses import dataclass
from typing import Final

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.rules import Rule, one_of

_INTERFACE: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,14}"
_PORT: Final = "[A-Za-z0-9][A-Za-z0-9_.-]{0,31}(:[0-9]{1,3})?"


@dataclass(frozen=True)
class VariableForm:
    """Variables whose values have one form. ``must`` follows their names in the sentence of a refusal."""

    names: tuple[str, ...]
    pattern: str
    must: str


FORMS: Final = (
    VariableForm(
        (
            "NCCL_IB_DISABLE", "NCCL_IB_ADAPTIVE_ROUTING", "NCCL_IB_CUDA_SUPPORT", "NCCL_IB_MERGE_NICS",
            "NCCL_IB_SPLIT_DATA_ON_QPS", "NCCL_IB_USE_INLINE", "NCCL_NET_GDR_READ", "NCCL_NET_GDR_C2C",
            "NCCL_P2P_DISABLE", "NCCL_P2P_DIRECT_DISABLE", "NCCL_SHM_DISABLE", "NCCL_NET_SHARED_BUFFERS",
            "NCCL_DMABUF_ENABLE", "NCCL_IGNORE_CPU_AFFINITY", "NCCL_CUMEM_HOST_ENABLE", "NCCL_MNNVL_ENABLE",
        ),
        "[01]", "be 0 or 1",
    ),
    VariableForm(
        (
            "NCCL_IB_GID_INDEX", "NCCL_IB_TC", "NCCL_IB_SL", "NCCL_IB_TIMEOUT", "NCCL_IB_RETRY_CNT", "NCCL_IB_PKEY",
            "NCCL_IB_QPS_PER_CONNECTION", "NCCL_IB_AR_THRESHOLD", "NCCL_IB_PCI_RELAXED_ORDERING",
            "NCCL_IB_ROCE_VERSION_NUM", "NCCL_CROSS_NIC", "NCCL_NVLS_ENABLE", "NCCL_CUMEM_ENABLE", "NCCL_BUFFSIZE",
            "NCCL_P2P_NET_CHUNKSIZE", "NCCL_NCHANNELS_PER_NET_PEER", "NCCL_MIN_NCHANNELS", "NCCL_MAX_NCHANNELS",
            "NCCL_MIN_CTAS", "NCCL_MAX_CTAS", "NCCL_NTHREADS", "NCCL_SOCKET_NTHREADS", "NCCL_NSOCKS_PERTHREAD",
            "UCX_IB_GID_INDEX", "UCX_IB_SL", "UCX_IB_TRAFFIC_CLASS",
        ),
        "[0-9]{1,9}", "be a whole number",
    ),
    VariableForm(
        ("NCCL_NET_GDR_LEVEL", "NCCL_P2P_LEVEL"), "LOC|NVL|PIX|PXB|PHB|SYS", "be LOC, NVL, PIX, PXB, PHB or SYS"
    ),
    VariableForm(("NCCL_DEBUG",), "VERSION|WARN|INFO|TRACE", "be VERSION, WARN, INFO or TRACE"),
    VariableForm(
        ("NCCL_SOCKET_FAMILY", "NCCL_IB_ADDR_FAMILY"), "AF_INET6?", "be AF_INET or AF_INET6"
    ),
    VariableForm(
        ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"),
        f"[=^]?=?{_INTERFACE}(,{_INTERFACE})*", "be interfaces, such as =eth0 or ^docker0,lo",
    ),
    VariableForm(
        ("NCCL_IB_HCA", "UCX_NET_DEVICES"),
        f"[=^]?=?{_PORT}(,{_PORT})*", "be network cards, such as mlx5_0:1,mlx5_1:1",
    ),
    VariableForm(
        ("NCCL_DEBUG_SUBSYS", "NCCL_ALGO", "NCCL_PROTO", "NCCL_NET", "UCX_TLS", "UCX_RNDV_SCHEME"),
        "[=^]?[A-Za-z0-9_]{1,31}( [A-Za-z0-9_]{1,31})?(,[A-Za-z0-9_]{1,31})*", "be words, such as INIT,NET",
    ),
)  # fmt: skip

#: All of them.
VARIABLES: Final = tuple(sorted(name for form in FORMS for name in form.names))


def _form_rule(form: VariableForm) -> Rule:
    names = one_of(form.names)
    shown = form.names[0] if len(form.names) == 1 else f"{', '.join(form.names[:-1])} and {form.names[-1]}"
    return Rule(
        f"self.all(key, !(key in {names}) || {matches(form.pattern, 'string(self[key])')})",
        f"engine.nccl: {shown} must {form.must}",
    )


NCCL_RULES: Final = (
    Rule(
        f"self.all(key, key in {one_of(VARIABLES)})",
        "engine.nccl must have variables of its list, which docs/how-to/fabrics.md shows: those of NCCL, UCX and Gloo "
        "that name no file and load no library; remove the others, or build them into the serving image",
    ),
    *(_form_rule(form) for form in FORMS),
)
