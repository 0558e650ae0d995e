"""Whatever is fetched to build, test or release is named by a digest, so that nobody can put something else there.

Packages of Debian are the exception: apt and mmdebstrap hold what the archive signs today, so that a build has its
security updates.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(path for path in ROOT.glob("*/Dockerfile*"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
BY_DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")
#: Files that install or fetch something when they are run.
SCRIPTS = [ROOT / "Makefile", *DOCKERFILES, *(path for path in (ROOT / ".ci").iterdir() if path.is_file()), *WORKFLOWS]


def loose_images(text: str) -> list[str]:
    """Images of a Dockerfile, its arguments included, that have no digest; stages of its own are none."""
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    named = re.findall(r"^FROM (?:--\S+ )*(\S+)", text, re.MULTILINE)
    named += re.findall(r"(?:--from=|[, ]from=)([^\s,]+)", text)
    filled = [re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], found[0]), one) for one in named]
    return sorted({one for one in filled if one not in stages | {"scratch"} and not BY_DIGEST.fullmatch(one)})


def loose_containers(workflow: dict[str, Any]) -> list[str]:
    """Images in which jobs of CI run, or that they start, without a digest."""
    found = []
    for job in workflow["jobs"].values():
        found += [job["container"]] if "container" in job else []
        found += job.get("services", {}).values()
        found += [step["uses"] for step in job.get("steps", ()) if step.get("uses", "").startswith("docker://")]
    images = [one["image"] if isinstance(one, dict) else one for one in found]
    return [image for image in images if not BY_DIGEST.fullmatch(image)]


def loose_commands(text: str) -> list[str]:
    """Commands that fetch something that no digest holds."""
    text = re.sub(r"\\\n\s*", " ", text)
    commands = re.findall(
        r"(?:\bpip install|\buv pip (?:install|sync)|\buv tool|\buvx|\bcurl|\bwget|\bgo install).*", text
    )
    return [one for one in commands if "--require-hashes" not in one]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_dockerfile_stands_on_digests(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(BY_DIGEST.findall(text)) >= 2, "its base and uv"
    assert loose_images(text) == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_of_ci_runs_in_an_image_by_digest(path: Path) -> None:
    assert loose_containers(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_fetched_that_no_digest_holds(path: Path) -> None:
    assert loose_commands(path.read_text(encoding="utf-8")) == []


def test_all_images_stand_on_one_uv_and_one_debian() -> None:
    named = {one for path in DOCKERFILES for one in BY_DIGEST.findall(path.read_text(encoding="utf-8"))}
    for part in ("/uv:", "/debian:"):
        assert len({one for one in named if part in one}) == 1, part


def test_make_installs_uv_by_hash() -> None:
    lines = [line for line in (ROOT / ".ci" / "uv.txt").read_text().splitlines() if not line.startswith("#")]
    assert [bool(re.fullmatch(r"uv==[\d.]+( --hash=sha256:[0-9a-f]{64})+", line)) for line in lines] == [True]


def test_every_locked_package_is_held_by_a_hash() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    loose = []
    for package in lock["package"]:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        if "editable" not in package["source"] and not (files and all("hash" in one for one in files)):
            loose.append(package["name"])
    assert loose == []


@pytest.mark.parametrize("folder", sorted((ROOT / "testbed" / "go").iterdir()), ids=lambda folder: folder.name)
def test_every_go_module_of_the_bed_is_held_by_a_hash(folder: Path) -> None:
    text = (folder / "go.mod").read_text()
    replaced = dict(re.findall(r"([\w./-]+) => ([\w./-]+ v\S+)", text))
    named = re.findall(r"^\s*(?:require )?([\w./-]+\.[\w./-]+) (v\S+)", text, re.MULTILINE)
    required = [replaced.get(name, f"{name} {version}") for name, version in named]
    sums = (folder / "go.sum").read_text() if (folder / "go.sum").exists() else ""
    assert [one for one in required if one not in sums] == []


# -- that the checks find something ------------------------------------------------------------------------------------

GOOD = f"debian:12@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "loose"),
    [
        (f"ARG BASE={GOOD}\nFROM ${{BASE}} AS a\nFROM a AS b\nCOPY --from=a /x /x\nFROM scratch\n", []),
        ("ARG BASE=debian:12\nFROM ${BASE}\n", ["debian:12"]),
        ("FROM --platform=linux/amd64 debian:12 AS a\n", ["debian:12"]),
        (f"FROM {GOOD} AS a\nCOPY --from=busybox /x /x\n", ["busybox"]),
        (f"FROM {GOOD} AS a\nRUN --mount=type=bind,from=uv:1,source=/uv,target=/uv true\n", ["uv:1"]),
        ("ARG BASE\nFROM ${BASE}\n", ["${BASE}"]),
        (f"FROM {GOOD[:-1]}\n", [GOOD[:-1]]),
    ],
)
def test_an_image_without_a_digest_is_found(text: str, loose: list[str]) -> None:
    assert loose_images(text) == loose


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("pip install uv==1", 1),
        ("RUN curl -LO https://example.com/x", 1),
        ("uv pip sync --quiet \\\n   --require-hashes x.txt", 0),
        ("uvx ruff", 1),
        ("uv export --frozen", 0),
    ],
)
def test_a_command_that_fetches_something_loose_is_found(text: str, count: int) -> None:
    assert len(loose_commands(text)) == count


def test_a_container_without_a_digest_is_found() -> None:
    jobs = {
        "a": {"container": {"image": "debian:12"}}, "b": {"services": {"x": {"image": GOOD}, "y": {"image": "redis"}}},
        "c": {"container": GOOD, "steps": [{"uses": "docker://alpine:3"}, {"run": "true"}]},
    }  # fmt: skip
    assert loose_containers({"jobs": jobs}) == ["debian:12", "redis", "docker://alpine:3"]
