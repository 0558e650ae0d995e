"""The command as the resolver's pod runs it: a process, its report, its manifest, its words."""

import asyncio
import base64
import gzip
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from llama_serving.config import names
from llama_serving.config.model import MANIFEST_KEY, WeightsReport
from llama_serving.config.reasons import ReportReason
from llama_serving.config.weights import Manifest
from tests.contract.support.apiserver import ApiServer
from tests.unit.weights.model.folders import SECOND
from tests.weights.faults import Fault
from tests.weights.hub import serving
from tests.weights.places import Place


@dataclass(frozen=True)
class Ended:
    """A run that ended."""

    status: int
    out: str
    errors: str


async def command(*arguments: str, **environment: str) -> Ended:
    """Run ``python -m llama_serving.weights resolve``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llama_serving.weights", "resolve", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin", names.ENV_SOURCE_NETWORKS: "127.0.0.0/8", **environment},
    )  # fmt: skip
    out, errors = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), errors.decode())


def of(place: Place, folder: Path, **options: str) -> list[str]:
    """Arguments for a place; the report goes to ``folder``/report."""
    given = {"source": place.uri, "revision": place.revision, "credentials": str(place.credentials)}
    given |= {"report": str(folder / "report"), **options}
    return [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]


def report_in(folder: Path) -> WeightsReport:
    text = (folder / "report").read_bytes()
    assert len(text) <= 4096
    return WeightsReport.model_validate_json(text)


async def test_accepted(place: Place, tmp_path: Path) -> None:
    ended = await command(*of(place, tmp_path, manifest=str(tmp_path / "manifest"), license="llama3.1"))
    assert (ended.status, ended.out[:9]) == (0, "accepted:"), ended
    report = report_in(tmp_path)
    manifest = Manifest.model_validate_json((tmp_path / "manifest").read_bytes())
    assert (report.outcome, report.digest, report.license) == ("accepted", manifest.digest, "llama3.1")
    again = await command(*of(place, tmp_path, manifest=str(tmp_path / "manifest"), expect=report.digest))
    assert again.status == 0
    assert report_in(tmp_path) == report


async def test_a_refusal_is_a_result(place: Place, tmp_path: Path) -> None:
    ended = await command(*of(place, tmp_path, manifest=str(tmp_path / "manifest"), license="apache-2.0"))
    assert (ended.status, ended.out[:8]) == (0, "refused:"), ended
    assert report_in(tmp_path).reason == ReportReason.LICENSE_REFUSED
    assert not (tmp_path / "manifest").exists()


@pytest.mark.parametrize("place", ["http"], indirect=True)
async def test_waits_are_told(place: Place, tmp_path: Path) -> None:
    place.proxy.faults.append(Fault("busy", place.target(SECOND), retry_after="1"))
    ended = await command(*of(place, tmp_path, manifest=str(tmp_path / "manifest")))
    assert ended.status == 0
    assert "was answered 429 (busy), asked to wait 1 s; trying again in 1." in ended.errors


async def test_an_address_that_is_none(tmp_path: Path) -> None:
    arguments = [f"--report={tmp_path / 'report'}", f"--manifest={tmp_path / 'manifest'}", "--source=ftp://host/x"]
    assert (await command(*arguments)).status == 0
    assert report_in(tmp_path).reason == ReportReason.WEIGHTS_GONE


@dataclass
class Api:
    """The ConfigMaps side of an API server; answers what is in ``answers`` first."""

    answers: list[int] = field(default_factory=list)
    patches: list[dict[str, Any]] = field(default_factory=list)

    async def patch(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        assert request.headers["Authorization"] == "Bearer pod"
        if self.answers:
            return web.Response(status=self.answers.pop(0), text="no")
        self.patches.append(await request.json())
        return web.json_response({})


@asynccontextmanager
async def api(folder: Path, *answers: int) -> AsyncIterator[tuple[Api, Path]]:
    """An API server's side, and a kubeconfig for it."""
    made = Api(list(answers))
    app = web.Application()
    app.router.add_patch("/api/v1/namespaces/team/configmaps/tiny", made.patch)
    async with serving(app) as port:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"token": "pod"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        yield made, path


@pytest.mark.parametrize("place", ["http"], indirect=True)
async def test_an_api_server_that_is_busy_is_asked_again(place: Place, tmp_path: Path) -> None:
    async with api(tmp_path, 503) as (server, kubeconfig):
        ended = await command(*of(place, tmp_path, config_map="team/tiny"), KUBECONFIG=str(kubeconfig))
    assert ended.status == 0, ended
    assert [list(patch["binaryData"]) for patch in server.patches] == [[MANIFEST_KEY]]


@pytest.mark.parametrize("place", ["http"], indirect=True)
async def test_a_manifest_that_is_refused_leaves_no_report(place: Place, tmp_path: Path) -> None:
    """Who reads an accepting report must find the manifest: without one the pod fails, and the Job tries again."""
    async with api(tmp_path, 403) as (_, kubeconfig):
        ended = await command(*of(place, tmp_path, config_map="team/tiny"), KUBECONFIG=str(kubeconfig))
    assert ended.status != 0
    assert "answered 403 to the manifest for ConfigMap team/tiny" in ended.errors
    assert not (tmp_path / "report").exists()


@pytest.mark.apiserver
@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["http"], indirect=True)
async def test_the_manifest_in_a_config_map_of_a_real_api_server(
    place: Place, *, tmp_path: Path, apiserver: ApiServer, namespace: str
) -> None:
    apiserver.run("create", "configmap", "tiny", "-n", namespace)
    arguments = of(place, tmp_path, config_map=f"{namespace}/tiny")
    ended = await command(*arguments, KUBECONFIG=str(apiserver.kubeconfig))
    assert ended.status == 0, ended
    stored = json.loads(apiserver.run("get", "configmap", "tiny", "-n", namespace, "-o", "json"))["binaryData"]
    manifest = Manifest.model_validate_json(gzip.decompress(base64.b64decode(stored[MANIFEST_KEY])))
    assert manifest.digest == report_in(tmp_path).digest
