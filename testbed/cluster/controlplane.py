"""How the control plane is started: arguments and configuration files, computed from the spec.

Reads and writes are both in the audit log with user, verb, resource and name, written before the answer goes out.
A node counts as lost after 20 s without a sign of life and its pods are evicted 30 s later, instead of
40 s and 300 s: tests wait for both.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.cluster.spec import Spec
from testbed.cluster.units import Unit

NODE_LOST_S: Final = 20
EVICTION_S: Final = 30


@dataclass(frozen=True)
class Folders:
    """Where an instance keeps its files, and where its programs lie."""

    base: Path
    etcd: Path
    bin: Path

    def program(self, name: str) -> str:
        """Path of one of the bed's programs in the cache: a new version is another path, and so a restart."""
        return str((self.bin / name).resolve())

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.base / "pki"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object per line."""
        return self.base / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.base / "kubeconfig"

    def log(self, unit: str) -> Path:
        """Log file of a unit."""
        return self.base / "log" / f"{unit}.log"

    def node(self, name: str) -> Path:
        """Folder of a node."""
        return self.base / "nodes" / name


def audit_policy() -> str:
    """Return the audit policy: who did what to which object, once per request, without bodies."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    return json.dumps(policy, indent=1)


_IDENTITIES: Final = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "dns": ("system:coredns", ""),
    "kwok": ("system:kwok", "system:masters"),
    "policies": ("system:policies", "system:masters"),
}


def token_file(tokens: Mapping[str, str]) -> str:
    """Return the API server's table of tokens: token, user, uid, groups. Who is not one of ours is a node."""
    lines = []
    for key, token in tokens.items():
        user, groups = _IDENTITIES.get(key, (f"system:node:{key}", "system:nodes"))
        lines.append(f'{token},{user},{key},"{groups}"')
    return "\n".join(lines) + "\n"


def kubeconfig(spec: Spec, *, authority: str, token: str) -> str:
    """Return a kubeconfig as JSON, which is YAML too; `authority` is the certificate, base64."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {"server": spec.api_url, "certificate-authority-data": authority}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": f"testbed-{spec.name}", "context": {"cluster": "testbed", "user": "user"}}],
        "current-context": f"testbed-{spec.name}",
    }
    return json.dumps(config, indent=1)


def core_units(spec: Spec, folders: Folders, *, tokens: str) -> tuple[Unit, ...]:
    """Return etcd and the API server; `tokens` is the text of the token file, which is read at start only."""
    return (_etcd(spec, folders), _api_server(spec, folders, tokens))


def _etcd(spec: Spec, folders: Folders) -> Unit:
    client, peer = f"http://127.0.0.1:{spec.ports.etcd}", f"http://127.0.0.1:{spec.ports.etcd_peer}"
    argv = [
        folders.program("etcd"),
        f"--data-dir={folders.etcd}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]
    return Unit(name="etcd", argv=tuple(argv))


def _api_server(spec: Spec, folders: Folders, tokens: str) -> Unit:
    pki = folders.pki
    argv = [
        folders.program("kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{spec.ports.etcd}",
        f"--bind-address={spec.api_address}",
        f"--advertise-address={spec.api_address}",
        f"--secure-port={spec.ports.api}",
        f"--service-cluster-ip-range={spec.service_cidr}",
        f"--tls-cert-file={pki}/api.crt",
        f"--tls-private-key-file={pki}/api.key",
        f"--token-auth-file={folders.base}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        "--enable-admission-plugins=NodeRestriction,PodSecurity",
        f"--default-not-ready-toleration-seconds={EVICTION_S}",
        f"--default-unreachable-toleration-seconds={EVICTION_S}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.key",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        f"--audit-policy-file={folders.base}/audit-policy.json",
        f"--audit-log-path={folders.audit_log}",
        "--audit-log-maxsize=1024",
        "--audit-log-maxbackup=1",
        *([] if spec.node_count else _ALONE),
    ]
    return Unit(name="kube-apiserver", argv=tuple(argv), depends=(tokens, audit_policy()))


# Without a controller manager no namespace gets its default service account, and the plugin would refuse every pod;
# a loopback address cannot be an endpoint of the Service `kubernetes`.
_ALONE: Final = ("--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none")


def controller_units(spec: Spec, folders: Folders) -> tuple[Unit, ...]:
    """Return the controller manager and the scheduler; neither listens on a port."""
    common = ["--leader-elect=false", "--secure-port=0"]
    manager = [
        folders.program("kube-controller-manager"),
        f"--kubeconfig={folders.base}/controller-manager.kubeconfig",
        *common,
        "--use-service-account-credentials",
        f"--service-account-private-key-file={folders.pki}/sa.key",
        f"--root-ca-file={folders.pki}/ca.crt",
        f"--service-cluster-ip-range={spec.service_cidr}",
        f"--node-monitor-grace-period={NODE_LOST_S}s",
        "--node-monitor-period=2s",
    ]
    scheduler = [
        folders.program("kube-scheduler"),
        f"--kubeconfig={folders.base}/scheduler.kubeconfig",
        *common,
    ]
    return (
        Unit(name="kube-controller-manager", argv=tuple(manager)),
        Unit(name="kube-scheduler", argv=tuple(scheduler)),
    )
