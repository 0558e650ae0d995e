"""Links, lines, words and objects of the documentation."""

import os
import re
from pathlib import Path
from typing import Final

import pytest
import yaml
from pydantic import BaseModel

from llama_operator.api import LlamaAdapterSpec, LlamaDeploymentSpec, LlamaWeightsSpec
from tests.unit.docs.pages import ROOT, TARGETS, Page, all_pages, slug_of, without_code

LONGEST: Final = 120  # characters
DOCS: Final = Path("docs")
DECISIONS: Final = DOCS / "explanation" / "decisions"
BENCHMARKS: Final = DOCS / "benchmarks"
REFERENCE: Final = DOCS / "reference"

#: Written by `make generate`, which `make check` compares with its sources: their lines and words are the code's.
GENERATED: Final = tuple(REFERENCE / name for name in ("api.md", "reasons.md", "metrics.md"))

#: Words that this project once used and the field does not, and those of a diary; each with what to write.
FORBIDDEN: Final = {
    r"wish(es|ed|ing)?": "desired state",
    r"told": "name the message and who gets it",
    r"seal(s|ed)?": "verified link",
    r"kit": "model assets",
    r"rooms?": "capacity, space",
    r"taken back|takes? back": "requeued, rolled back",
    r"exchang(e|es|ed|ing)": "in-place update, weight swap, reload",
    r"house|shelf|agenda": "the module's name",
    r"strangers?": "foreign objects",
    r"of ours": "of the project, or the part's name",
    r"gives? up|given up": "roll back, stop, end",
    r"peers\.md": "a page of this repository",
    r"the prototype": "a page of docs/benchmarks",
    r"(this was|that was) (written|made) on": "nothing",
    r"not been tried|at hand": "what the tests cover",
    r"licence": "license",
    r"\d{1,2} (January|February|March|April|May|June|July|August|September|October|November|December)": "nothing",
}
#: Dated pages, and the list of changes, keep dates and the words of their time.
DATED: Final = (BENCHMARKS, DECISIONS, Path("CHANGELOG.md"))

PAGES: Final = all_pages()
WRITTEN: Final = [page for page in PAGES if page.path not in GENERATED]
MODELS: Final[dict[str, type[BaseModel]]] = {
    "LlamaDeployment": LlamaDeploymentSpec,
    "LlamaWeights": LlamaWeightsSpec,
    "LlamaAdapter": LlamaAdapterSpec,
}


def _name(page: Page) -> str:
    return str(page.path)


def _is_dated(page: Page) -> bool:
    return any(page.path.is_relative_to(folder) for folder in DATED)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files_and_headings(page: Page) -> None:
    broken = []
    for number, target in page.links():
        name, _, anchor = target.partition("#")
        path = (ROOT / page.path.parent / name).resolve() if name else ROOT / page.path
        if Path(os.path.relpath(path, ROOT)) in GENERATED:
            continue  # `make check` says when one is missing
        if not path.exists():
            broken.append(f"{page.path}:{number}: {target}: no such file")
        elif anchor and anchor not in Page(path.relative_to(ROOT)).anchors:
            broken.append(f"{page.path}:{number}: {target}: no such heading")
    assert broken == []


@pytest.mark.parametrize("page", WRITTEN, ids=_name)
def test_lines_are_short(page: Page) -> None:
    long = [
        f"{page.path}:{number}: {len(line)} characters"
        for number, line in page.prose
        if len(TARGETS.sub("]", line)) > LONGEST and not line.lstrip().startswith("|")
    ]
    assert long == []


@pytest.mark.parametrize("page", [page for page in WRITTEN if not _is_dated(page)], ids=_name)
def test_words_are_those_of_the_field(page: Page) -> None:
    found = [
        f'{page.path}:{number}: "{match[0]}": write {better}'
        for number, line in page.prose
        for words, better in FORBIDDEN.items()
        if (match := re.search(rf"\b({words})\b", without_code(line), re.IGNORECASE))
    ]
    assert found == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.path.parent == DECISIONS], ids=_name)
def test_every_decision_has_status_and_date_and_is_in_the_index(page: Page) -> None:
    if page.path.name == "README.md":
        return
    text = "\n".join(page.lines)
    number = int(page.path.name[:4])
    date = re.search(r"^- Date: (\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)
    status = re.search(r"^- Status: (accepted|proposed|superseded by \[\d+\]\(\S+\))$", text, re.MULTILINE)
    assert page.lines[0].startswith(f"# {number}. ")
    assert date is not None
    assert status is not None
    row = next(line for line in Page(DECISIONS / "README.md").lines if f"[{number}]({page.path.name})" in line)
    assert row.endswith(f"| {status[1].partition(' [')[0]} | {date[1]} |")


def test_numbers_of_decisions_have_no_gaps() -> None:
    numbers = [int(page.path.name[:4]) for page in PAGES if page.path.parent == DECISIONS and page.path.name[0] == "0"]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", [page for page in PAGES if page.path.parent == BENCHMARKS], ids=_name)
def test_benchmarks_are_dated_and_name_their_commands(page: Page) -> None:
    if page.path.name == "README.md":
        linked = {target.partition("#")[0] for _, target in page.links()}
        assert linked >= {other.path.name for other in PAGES if other.path.parent == BENCHMARKS and other != page}
        return
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}-[a-z-]+\.md", page.path.name)
    assert any("ommand" in line for line in page.lines)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_objects_of_the_api_are_accepted_by_its_models(page: Page) -> None:
    for document in _documents(page):
        if isinstance(document, dict) and document.get("kind") in MODELS:
            MODELS[document["kind"]].model_validate(document["spec"])


def _documents(page: Page) -> list[object]:
    """YAML blocks, and YAML that a command of a console block applies."""
    texts = [block.text for block in page.blocks if block.language == "yaml"]
    for block in page.blocks:
        if block.language == "console":
            texts += re.findall(r"^\$ kubectl apply -f - <<'EOF'\n(.*?)^EOF$", block.text, re.DOTALL | re.MULTILINE)
    return [document for text in texts for document in yaml.safe_load_all(text)]


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("Weight swap", "weight-swap"),
        ("`/load`", "load"),
        ("spec.gateway", "specgateway"),
        ("10. What [this](a.md) is, exactly?", "10-what-this-is-exactly"),
    ],
)
def test_anchors_are_those_of_github(heading: str, slug: str) -> None:
    assert slug_of(heading) == slug


def test_code_names_pages_that_are_there() -> None:
    found = []
    for folder in ("operator", "serving", "testbed", "benchmarks", "examples", "charts", "crds", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".txt", ".tpl", ".toml") or path.name == "Dockerfile":
                names = re.findall(r"(?<![\w/])docs/[\w./-]+\.md", path.read_text(encoding="utf-8"))
                found += [f"{path.relative_to(ROOT)}: {name}" for name in names if not (ROOT / name).exists()]
    assert found == []
