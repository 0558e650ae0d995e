"""A release is what the repository says: versions, images and chart. The form of the workflows is checked by zizmor."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
RELEASE: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text(encoding="utf-8"))
CHART: dict[str, Any] = yaml.safe_load((ROOT / "charts/llama-operator/Chart.yaml").read_text(encoding="utf-8"))
VERSION: str = CHART["version"]
IMAGES: list[dict[str, str]] = RELEASE["jobs"]["images"]["strategy"]["matrix"]["include"]


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    found = {**os.environ, "GITHUB_REF_NAME": f"v{VERSION}", "GITHUB_REPOSITORY_OWNER": "Some-Team", **environment}
    found |= {"GITHUB_REPOSITORY": "Some-Team/llama", "GITHUB_SHA": "abc", "REGISTRY": "r.example.com"}
    argv = [str(ROOT / ".ci" / name), *arguments]
    return subprocess.run(argv, env=found, capture_output=True, text=True, check=False, timeout=60)


def program(folder: Path, name: str, text: str) -> None:
    """A program of this name that writes down how it was called, then does as the text says."""
    path = folder / name
    path.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$*" >> "{folder}/{name}.calls"\n{text}\n')
    path.chmod(0o755)


def calls(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.calls").read_text().splitlines()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_the_digest_of_its_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)] == []


def test_every_dockerfile_is_released_under_the_name_that_the_chart_expects() -> None:
    files = {str(path.relative_to(ROOT)) for path in ROOT.glob("*/Dockerfile*")}
    assert {one["file"] for one in IMAGES} == files
    helpers = (ROOT / "charts/llama-operator/templates/_helpers.tpl").read_text(encoding="utf-8")
    assert {one["image"] for one in IMAGES} == set(re.findall(r'printf "([\w-]+):%s" \.Chart\.AppVersion', helpers))


def test_a_tag_is_the_version_of_project_and_chart() -> None:
    assert script("release-version", f"v{VERSION}").stdout.strip() == VERSION


@pytest.mark.parametrize("tag", ["v9.9.9", "v0.1", "v"])
def test_a_tag_of_another_version_is_refused(tag: str) -> None:
    done = script("release-version", tag)
    assert done.returncode != 0
    assert f"which the tag {tag} asks for" in done.stderr


INSPECT = 'if [ "$1 $2" = "buildx imagetools" ]; then {there}; echo sha256:{digest}; fi'


def test_an_image_is_built_on_bases_by_digest_and_pushed(tmp_path: Path) -> None:
    missing = 'case "$4" in *llama-serving-gpu*) [ -e "$0.pushed" ] || exit 1;; esac'
    program(
        tmp_path, "docker", INSPECT.format(there=missing, digest="1" * 64) + '\n[ "$1" != push ] || touch "$0.pushed"'
    )
    done = script(
        "release-image", "llama-serving-gpu", "serving/Dockerfile.gpu",
        PATH=f"{tmp_path}:{os.environ['PATH']}", GITHUB_STEP_SUMMARY=str(tmp_path / "summary"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    target = f"r.example.com/some-team/llama-serving-gpu:{VERSION}"
    (build,) = (call for call in calls(tmp_path, "docker") if call.startswith("build --file serving/Dockerfile.gpu"))
    assert f"--tag {target}" in build
    assert "--build-arg" not in build, "the bases are those of the Dockerfile, which are digests"
    assert f"push {target}" in calls(tmp_path, "docker")
    summary = (tmp_path / "summary").read_text()
    assert f"{target}@sha256:{'1' * 64}" in summary
    dockerfile = (ROOT / "serving/Dockerfile.gpu").read_text(encoding="utf-8")
    bases = re.findall(r"^ARG (\w+=\S+@sha256:\S+)", dockerfile, re.MULTILINE)
    assert len(bases) == 2
    assert set(bases) <= set(summary.splitlines())


def test_an_image_that_is_there_is_never_changed(tmp_path: Path) -> None:
    program(tmp_path, "docker", INSPECT.format(there="true", digest="2" * 64))
    done = script(
        "release-image", "llama-serving", "serving/Dockerfile",
        PATH=f"{tmp_path}:{os.environ['PATH']}", GITHUB_STEP_SUMMARY=str(tmp_path / "summary"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {call.partition(" ")[0] for call in calls(tmp_path, "docker")} == {"buildx"}
    assert "is there already: a release is never changed" in (tmp_path / "summary").read_text()


def test_the_chart_of_a_release_names_its_own_images(tmp_path: Path) -> None:
    program(tmp_path, "docker", INSPECT.format(there="true", digest="3" * 64))
    program(tmp_path, "helm", f'[ "$1" != lint ] || cp "$3/values.yaml" {tmp_path}/values.yaml')
    done = script("release-chart", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    images = yaml.safe_load((tmp_path / "values.yaml").read_text())["images"]
    digest = f"sha256:{'3' * 64}"
    assert {name: images[name] for name in ("operator", "serving", "servingGpu", "gateway")} == {
        "operator": f"r.example.com/some-team/llama-operator:{VERSION}@{digest}",
        "serving": f"r.example.com/some-team/llama-serving:{VERSION}@{digest}",
        "servingGpu": f"r.example.com/some-team/llama-serving-gpu:{VERSION}@{digest}",
        "gateway": "",
    }
    assert calls(tmp_path, "helm")[-1].endswith("oci://r.example.com/some-team/charts")


def test_no_chart_is_released_without_the_digests_of_its_images(tmp_path: Path) -> None:
    program(tmp_path, "docker", "exit 1")
    program(tmp_path, "helm", "true")
    assert script("release-chart", PATH=f"{tmp_path}:{os.environ['PATH']}").returncode != 0
    assert not (tmp_path / "helm.calls").exists()
