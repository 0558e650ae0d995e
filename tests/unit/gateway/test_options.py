"""What the gateway is told from outside: static groups and how to reach an API server."""

import base64
from pathlib import Path

import pytest
import yaml

from llama_serving.common.kube_access import AccessError, find_access, from_kubeconfig
from llama_serving.gateway.discovery.static import parse_static


def kubeconfig(folder: Path, *, user: dict[str, object], server: str = "http://127.0.0.1:8001/") -> Path:
    path = folder / "config"
    config = {
        "current-context": "c",
        "contexts": [{"name": "other", "context": {}}, {"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_static_groups() -> None:
    first, second = parse_static("a=http://127.0.0.1:8001,b=http://[::1]:8002/")
    assert (first.name, first.ordinal, first.host, first.port, first.ready) == ("a", 0, "127.0.0.1", 8001, True)
    assert (second.name, second.ordinal, second.host, second.port) == ("b", 1, "::1", 8002)


def test_static_groups_without_a_port_use_that_of_http() -> None:
    assert parse_static("a=http://host")[0].port == 80


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "=http://h:1",
        "a=https://h:1",
        "a=h:1",
        "a=http://",
        "a=http://h:1/v1",
        "a=http://h:x",
        "a=http://h:1,a=http://h:2",
    ],
)
def test_static_groups_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not name=|occurs twice|[Pp]ort"):
        parse_static(text)


def test_a_kubeconfig_with_a_token(tmp_path: Path) -> None:
    access = from_kubeconfig(kubeconfig(tmp_path, user={"token": "t"}))
    assert (access.url, access.headers, access.tls) == ("http://127.0.0.1:8001", {"authorization": "Bearer t"}, None)


def test_a_kubeconfig_with_tls_but_no_verification(tmp_path: Path) -> None:
    access = from_kubeconfig(kubeconfig(tmp_path, user={}, server="https://127.0.0.1:6443"))
    assert access.tls is not None
    assert not access.tls.check_hostname


def test_a_kubeconfig_that_needs_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="login program"):
        from_kubeconfig(kubeconfig(tmp_path, user={"exec": {"command": "x"}}))


def test_a_kubeconfig_without_its_context_is_refused(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, user={})
    path.write_text(path.read_text().replace("current-context: c", "current-context: missing"))
    with pytest.raises(AccessError, match="missing"):
        from_kubeconfig(path)


def test_a_certificate_that_is_none_is_an_error(tmp_path: Path) -> None:
    nothing = base64.b64encode(b"nothing").decode()
    user: dict[str, object] = {"client-certificate-data": nothing, "client-key-data": nothing}
    with pytest.raises(OSError, match=r"PEM|SSL"):
        from_kubeconfig(kubeconfig(tmp_path, user=user, server="https://127.0.0.1:6443"))


def test_outside_of_a_cluster_something_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(AccessError, match="--static"):
        find_access()
