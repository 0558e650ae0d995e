"""The instance's keys and certificates, made with openssl: one authority, the API server's, and its client's.

Elliptic curves, because making them takes no time.
"""

import subprocess
from pathlib import Path
from typing import Final

from testbed.cluster.spec import Spec

_DAYS: Final = "3650"
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def ensure(folder: Path, spec: Spec) -> None:
    """Make what is missing.

    Raises:
        subprocess.CalledProcessError: openssl refused.
    """
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    authority = ["-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-days", _DAYS, "-subj", "/CN=llama-testbed"]
    _openssl(folder, "req", *authority)
    # Signs service account tokens; only its key matters.
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key")
    _issue(folder, "api", subject="/CN=kube-apiserver", extensions=f"subjectAltName={api_names(spec)}")
    # The API server as a client of the kubelets (logs, exec): the kubelets ask the API server, which lets masters in.
    _issue(
        folder,
        "kubelet-client",
        subject="/O=system:masters/CN=kube-apiserver",
        extensions="extendedKeyUsage=clientAuth",
    )
    (folder / "done").touch()


def api_names(spec: Spec) -> str:
    """Return every name and address under which the API server is reached, as openssl spells them."""
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    addresses = ["127.0.0.1", spec.service_address, spec.host_address]
    return ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])


def _issue(folder: Path, name: str, *, subject: str, extensions: str) -> None:
    (folder / f"{name}.ext").write_text(extensions)
    _openssl(folder, "req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
    signer = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS]
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signer, "-extfile", f"{name}.ext", "-out", f"{name}.crt")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
