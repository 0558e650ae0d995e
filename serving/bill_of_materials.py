"""Writes what is really in an image: a bill of materials (CycloneDX 1.6, JSON) and NOTICE, with every license.

It runs in the build, after everything is installed, and reads what lies there: the metadata of Python's packages, and
of Debian's packages dpkg's records and copyright files. It refuses a Python package under the GPL or the AGPL: nothing
that this project imports is, so such a package came along unseen and is left out with ``--no-emit-package``. Programs
of Debian under the GPL (a shell, compilers) are listed like all others.

Usage: python3 bill_of_materials.py --image NAME --project PYPROJECT --packages FOLDER --system ROOT --out FOLDER
The same image gives the same files: neither has a time or a random number in it.
"""

import argparse
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

BILL: Final = "sbom.cdx.json"
NOTICE: Final = "NOTICE"
NOT_STATED: Final = "not stated"
#: A copyleft that reaches what links it: the GPL of any version and the AGPL, not the LGPL.
_GPL: Final = re.compile(r"(?<![A-Za-z])A?GPL|Affero|(?<!Lesser )General Public License", re.IGNORECASE)
_LESSER: Final = re.compile(r"LGPL|Lesser General Public", re.IGNORECASE)
_SPACE: Final = uuid.UUID("6f0f9d2e-5f0a-4c57-9a53-0c1d8f1f3a11")  # of the serial numbers of our bills
_LONGEST: Final = 120  # characters of a license's name: some packages put the whole text there


@dataclass(frozen=True, order=True)
class Part:
    """A package that is installed; ``texts``: where its license lies in the image."""

    kind: str  # as in package URLs: pypi, deb
    name: str
    version: str
    licenses: tuple[str, ...]
    texts: tuple[str, ...] = ()

    @property
    def url(self) -> PackageURL:
        """Return its package URL."""
        space = "debian" if self.kind == "deb" else None
        return PackageURL(type=self.kind, namespace=space, name=self.name, version=self.version or None)


def python_parts(folder: Path) -> list[Part]:
    """Return the Python packages of a folder, each once, in the order of their names."""
    found = {part.name: part for part in map(_python_part, distributions(path=[str(folder)]))}
    return sorted(found.values())


def _python_part(found: Distribution) -> Part:
    name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
    texts = [str(found.locate_file(path)) for path in found.files or () if _is_license(path.parts)]
    return Part("pypi", name, found.version, licenses_of(found), tuple(sorted(texts)))


def _is_license(parts: tuple[str, ...]) -> bool:
    inside = len(parts) > 1 and parts[0].endswith(".dist-info")
    return inside and bool(re.match(r"(LICEN[CS]E|COPYING|NOTICE)", parts[-1], re.IGNORECASE))


def licenses_of(found: Distribution) -> tuple[str, ...]:
    """Return what a package says of its license: the expression, else classifiers, else the first line of free text."""
    meta = found.metadata
    if expression := _first(meta.get_all("License-Expression")):
        return (expression,)
    kinds = [one.rpartition(" :: ")[2] for one in meta.get_all("Classifier") or () if one.startswith("License ::")]
    text = _first(meta.get_all("License")).partition("\n")[0][:_LONGEST]
    if kinds and not (set(kinds) <= {"Other/Proprietary License", "OSI Approved"} and text):
        return tuple(sorted(set(kinds)))
    return (text,) if text else (NOT_STATED,)


def _first(values: list[str] | None) -> str:
    return values[0].strip() if values else ""


def system_parts(root: Path) -> list[Part]:
    """Return Debian's packages below a root.

    dpkg has one file with all of them, a "distroless" image a file for each. A system that was only unpacked has
    neither: there the copyright files tell the names.
    """
    records = [root / "var/lib/dpkg/status", *sorted((root / "var/lib/dpkg/status.d").glob("*"))]
    texts = [path.read_text("utf-8", "replace") for path in records if path.is_file() and path.suffix != ".md5sums"]
    found = {part.name: part for text in texts for part in _recorded(text, root)}
    if not found:
        copyrights = sorted(root.glob("usr/share/doc/*/copyright"))
        found = {path.parent.name: _system_part(path.parent.name, "", root) for path in copyrights}
    return sorted(found.values())


def _recorded(text: str, root: Path) -> Iterator[Part]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if "Package" in fields and fields.get("Status", "ok installed").endswith("ok installed"):
            yield _system_part(fields["Package"], fields.get("Version", ""), root)


def _system_part(name: str, version: str, root: Path) -> Part:
    path = root / "usr/share/doc" / name / "copyright"
    if not path.is_file():
        return Part("deb", name, version, (NOT_STATED,))
    named = re.findall(r"^License:[ \t]*(\S.*)$", path.read_text("utf-8", "replace"), re.MULTILINE)
    licenses = tuple(sorted({one.strip()[:_LONGEST] for one in named}))
    return Part("deb", name, version, licenses or ("see its copyright file",), (f"/usr/share/doc/{name}/copyright",))


def is_gpl(license_: str) -> bool:
    """Tell whether a license is the GPL or the AGPL, with no other choice."""
    choices = re.split(r"\s+OR\s+", license_)
    return all(bool(_GPL.search(one)) and not _LESSER.search(one) for one in choices)


def refusals(parts: Iterable[Part]) -> list[str]:
    """Return a sentence for every Python package that must not be in an image."""
    return [
        f"{part.name} {part.version} is under {' / '.join(part.licenses)}: leave it out of the image "
        f"(--no-emit-package {part.name}), nothing of this project imports it"
        for part in parts
        if part.kind == "pypi" and part.licenses and all(map(is_gpl, part.licenses))
    ]


def bill(image: str, version: str, parts: Iterable[Part]) -> str:
    """Return the bill of materials of an image."""
    parts = sorted(parts)
    made = Bom(components=[_component(part) for part in parts])
    made.metadata.component = Component(
        name=image, version=version, type=ComponentType.CONTAINER, bom_ref=image, licenses=_licenses(("Apache-2.0",))
    )
    made.register_dependency(made.metadata.component, made.components)
    made.metadata.timestamp = datetime.fromtimestamp(0, UTC)  # that of the build would make another file
    made.serial_number = uuid.uuid5(_SPACE, repr((image, version, parts)))
    return JsonV1Dot6(made).output_as_string(indent=1) + "\n"


def _component(part: Part) -> Component:
    return Component(
        name=part.name,
        version=part.version or None,
        type=ComponentType.LIBRARY,
        purl=part.url,
        bom_ref=str(part.url),
        licenses=_licenses(part.licenses),
    )


def _licenses(named: tuple[str, ...]) -> list[License]:
    """Return licenses as CycloneDX takes them: one expression alone, or ids and names."""
    if len(named) == 1:
        return [LicenseFactory().make_from_string(named[0])]
    return [DisjunctiveLicense(name=one) for one in named]


def notice(image: str, version: str, parts: Iterable[Part]) -> str:
    """Return the text of NOTICE: each package with its license, and where in the image the text of it lies."""
    lines = [f"{image} {version}, Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0)", "", "It contains:", ""]
    for part in sorted(parts):
        lines.append(" ".join(one for one in (part.name, part.version) if one) + f": {' / '.join(part.licenses)}")
        lines += [f"    {text}" for text in part.texts]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write both files; 1 where a package must not be in the image."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("project", "packages", "system", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--image", required=True)
    options = parser.parse_args(arguments)
    version = tomllib.loads(options.project.read_text(encoding="utf-8"))["project"]["version"]
    parts = python_parts(options.packages) + system_parts(options.system)
    if refused := refusals(parts):
        sys.stderr.write("\n".join(refused) + "\n")
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / BILL).write_text(bill(options.image, version, parts), encoding="utf-8")
    (options.out / NOTICE).write_text(notice(options.image, version, parts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
