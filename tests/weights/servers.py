"""Real servers that weights come from, each a process of its own on a free port of loopback; ended by their handle."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.store import S3Store

from testbed.cache import binaries
from testbed.ports import free_port

START_S: Final = 30.0
KEY, SECRET, BUCKET = "reader", "reader-secret", "models"
REPOSITORY: Final = "team/tiny"


@contextmanager
def _running(argv: list[str], *, port: int, log: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    """The port, once the program listens on it."""
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, **(env or {})})
        try:
            deadline = time.monotonic() + START_S
            while not _listens(port):
                assert process.poll() is None, f"{argv[0]} ended with {process.returncode}:\n{log.read_text()[-2000:]}"
                assert time.monotonic() < deadline, (
                    f"{argv[0]} is not there after {START_S} s:\n{log.read_text()[-2000:]}"
                )
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=START_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def s3(folder: Path) -> Iterator[int]:
    """versitygw over a folder."""
    program, port = binaries.ensure(["versitygw"])["versitygw"], free_port()
    data = folder / "data"
    (data / BUCKET).mkdir(parents=True)
    argv = [str(program), "--access", KEY, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "posix", str(data)]
    with _running(argv, port=port, log=folder / "log"):
        yield port


@contextmanager
def gcs(folder: Path) -> Iterator[int]:
    """fake-gcs-server, in memory."""
    program, port = binaries.ensure(["fake-gcs-server"])["fake-gcs-server"], free_port()
    argv = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    argv += ["-public-host", f"127.0.0.1:{port}"]
    with _running(argv, port=port, log=folder / "log"):
        _post(
            f"http://127.0.0.1:{port}/storage/v1/b?project=x", json.dumps({"name": BUCKET}).encode(), "application/json"
        )
        yield port


@contextmanager
def registry(folder: Path, *, realm: str = "") -> Iterator[int]:
    """The distribution registry; with a realm it asks for a Bearer token of it before each answer."""
    program, port = binaries.ensure(["registry"])["registry"], free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if realm:
        config["auth"] = {"silly": {"realm": realm, "service": "registry"}}
    path = folder / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    with _running(
        [str(program), "serve", str(path)], port=port, log=folder / "log", env={"OTEL_TRACES_EXPORTER": "none"}
    ):
        yield port


def fill_s3(port: int, model: Path, prefix: str) -> None:
    store = S3Store(BUCKET, prefix=prefix, config=s3_config(port), client_options={"allow_http": True})
    for path in model.iterdir():
        obstore.put(store, path.name, path.read_bytes())


def s3_config(port: int, secret: str = SECRET) -> Any:
    return {
        "aws_access_key_id": KEY,
        "aws_secret_access_key": secret,
        "aws_region": "us-east-1",
        "aws_endpoint_url": f"http://127.0.0.1:{port}",
    }


def fill_gcs(port: int, model: Path, prefix: str) -> None:
    for path in model.iterdir():
        name = f"{prefix}%2F{path.name}"
        url = f"http://127.0.0.1:{port}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
        _post(url, path.read_bytes(), "application/octet-stream")


def push(port: int, model: Path, tag: str, *, media_type: str = "application/octet-stream") -> str:
    """Push each file as a layer, as ``oras push`` does; the digest of the manifest."""
    layers = [
        _push_blob(port, path.read_bytes(), title=path.name, media_type=media_type) for path in sorted(model.iterdir())
    ]
    config = _push_blob(port, b"{}", title="", media_type="application/vnd.oci.empty.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": config,
        "layers": layers,
    }
    return push_manifest(port, manifest, tag)


def push_manifest(port: int, manifest: dict[str, Any], tag: str) -> str:
    text = json.dumps(manifest).encode()
    url = f"http://127.0.0.1:{port}/v2/{REPOSITORY}/manifests/{tag}"
    _send("PUT", url, body=text, kind=str(manifest["mediaType"]))
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _push_blob(port: int, content: bytes, *, title: str, media_type: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    place = _post(f"http://127.0.0.1:{port}/v2/{REPOSITORY}/blobs/uploads/", b"", "application/octet-stream")
    _send("PUT", f"{place}&digest={digest}", body=content, kind="application/octet-stream")
    entry: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(content)}
    return entry | ({"annotations": {"org.opencontainers.image.title": title}} if title else {})


def _post(url: str, body: bytes, kind: str) -> str:
    return _send("POST", url, body=body, kind=kind)


def _send(method: str, url: str, *, body: bytes, kind: str) -> str:
    """The Location of the answer. ``silly`` registries take any Authorization."""
    headers = {"Content-Type": kind, "Authorization": f"Basic {base64.b64encode(b'pusher:x').decode()}"}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            return str(answer.headers.get("Location", ""))
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.code} {error.read()[:300]!r}") from error
