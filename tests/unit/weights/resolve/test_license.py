"""The license that a model's own files name: read as the Hub reads it, and nothing unreadable passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.weights.resolve.license import FoundLicense, find_license, same_license

Files = dict[str, bytes]


def readme(front: str, *, end: str = "\n") -> Files:
    return {"README.md": end.join(["---", *front.split("\n"), "---", "# text", ""]).encode()}


LLAMA_TEXT = b"LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nLlama 3.1 Version Release Date: July 23, 2024\n"


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (readme("license: llama3.1"), ["llama3.1"]),
        (readme("license: other\nlicense_name: my-own"), ["my-own"]),
        (readme("license: other\nlicense_name: my-own\nlicense_link: https://example.com/LICENSE"), ["my-own"]),
        (readme("license: other"), []),
        ({**readme("license: unknown"), "LICENSE": b"MIT License"}, ["mit"]),
        (readme("license: [a, b]"), ["a", "b"]),
        (readme("license:\n- apache-2.0\n- llama3.1"), ["apache-2.0", "llama3.1"]),
        (readme("license:\n  - cc-by-nc-4.0"), ["cc-by-nc-4.0"]),
        (readme("license: [cc-by-nc-4.0]"), ["cc-by-nc-4.0"]),
        (readme("license: [other, mit]\nlicense_name: x"), ["mit"]),
        (readme("license: [other]\nlicense_name: [x, y]"), ["x", "y"]),
        (readme("license: [mit, mit, null]"), ["mit"]),
        (readme("license: []"), []),
        (readme("license:"), []),
        (readme('license: "llama3.1" # as its parent'), ["llama3.1"]),
        (readme("# a comment\nlicense: llama3.1"), ["llama3.1"]),
        (readme("license: >-\n  llama3.1"), ["llama3.1"]),
        (readme("license: 3.1"), ["3.1"]),
        (readme("tags:\n- license: mit\nlicense: llama3.1"), ["llama3.1"]),
        (readme("license: llama3.1", end="\r\n"), ["llama3.1"]),
        (readme("license: llama3.1", end="\r"), ["llama3.1"]),
        ({"README.md": b"\xef\xbb\xbf---\nlicense: mit\n---\n"}, ["mit"]),
        ({"README.md": b"\n\n---\nlicense: mit\n---\n"}, ["mit"]),
        ({"README.md": b"--- \nlicense: mit\n---"}, ["mit"]),
        ({"README.md": b"---\nlicense: mit\n---\ntext\n---\nlicense: gpl\n---\n"}, ["mit"]),
        ({"README.md": b"# text\n---\nlicense: mit\n---\n"}, []),
        ({"README.md": b"----\nlicense: mit\n----\n"}, []),
        ({"README.md": b"---\n---\n"}, []),
        ({"README.md": b"no front matter"}, []),
        ({"README.md": b"\xff\xfe"}, []),
        ({"config.json": b'{"license": "mit"}'}, ["mit"]),
        ({"config.json": b'{"license": ["mit", "llama2"]}'}, ["mit", "llama2"]),
        ({"config.json": b"["}, []),
        ({"config.json": b"[]"}, []),
        ({"LICENSE": LLAMA_TEXT}, ["llama3.1"]),
        ({"LICENSE.txt": b"\n     Apache License\n  Version 2.0, January 2004\n"}, ["apache-2.0"]),
        ({"LICENSE.md": b"# MIT License\n\nCopyright"}, ["mit"]),
        ({"LICENSE": b"All rights reserved"}, []),
        ({**readme("license: llama3.1"), "LICENSE": b"MIT License"}, ["llama3.1"]),  # the first that says something
        ({}, []),
    ],
)
def test_the_license_that_files_name(files: Files, names: list[str]) -> None:
    assert find_license(files) == FoundLicense(tuple(names))


@pytest.mark.parametrize(
    ("files", "names", "fault", "half_named"),
    [
        (readme("- a list"), [], "has no fields, such as license: llama3.1", False),
        (readme("a: b: c"), [], "is no YAML (line 2: mapping values are not allowed here)", False),
        (readme("license: llama3.1\ntags: [a"), ["llama3.1"], "is no YAML (line 4", False),
        (readme("license: llama3.1\n\ttags: a"), ["llama3.1"], "is no YAML (line 3", False),
        (readme("license: [mit\ntags: a"), [], "is no YAML (line 3", True),
        (readme("license:\n- mit\ntags: [a"), [], "is no YAML", True),
        (readme("license: *unknown"), [], "is no YAML (line 2: found undefined alias", True),
        (readme("license: {name: mit}"), [], "gives its license neither as text nor as a list of texts", True),
        (readme("license: [[mit]]"), [], "gives its license neither as text", True),
        (readme("license: mit\nlicense: llama3.1"), ["mit", "llama3.1"], "names license twice", False),
        ({"README.md": b"---\nlicense: mit\n# text"}, ["mit"], "has no line --- that ends it", False),
        ({**readme("license: [a"), "LICENSE": b"MIT License"}, ["mit"], "is no YAML", True),
        (readme("license: mit\n...\nlicense: gpl"), ["mit", "gpl"], "is no YAML", False),
    ],
)
def test_what_could_not_be_read_is_said(files: Files, *, names: list[str], fault: str, half_named: bool) -> None:
    found = find_license(files)
    assert (list(found.names), found.half_named) == (names, half_named)
    assert found.fault.startswith(fault)


@pytest.mark.parametrize(
    ("names", "accepted", "allowed"),
    [
        (("apache-2.0", "llama3.1"), "llama3.1", True),
        (("apache-2.0", "llama3.1"), "Apache License, Version 2.0", True),
        (("apache-2.0", "llama3.1"), "mit", False),
        (("apache-2.0", "llama3.1"), "apache-2.0, llama3.1", False),
        (("cc-by-nc-4.0",), "llama3.1", False),
        ((), "mit", False),
    ],
)
def test_the_accepted_license_is_one_of_a_list(names: tuple[str, ...], accepted: str, allowed: bool) -> None:
    assert FoundLicense(names).allows(accepted) is allowed


@given(st.lists(st.sampled_from(["mit", "llama2", "llama3.1", "apache-2.0", "cc-by-nc-4.0"]), min_size=1, unique=True))
def test_a_list_says_the_same_in_every_form(names: list[str]) -> None:
    block = readme("license:\n" + "\n".join(f"- {name}" for name in names))
    flow = readme(f"license: [{', '.join(names)}]")
    assert find_license(block) == find_license(flow) == FoundLicense(tuple(names))
    assert all(find_license(flow).allows(name) for name in names)


@given(st.text(max_size=300), st.text(max_size=40))
def test_no_head_ends_the_resolver(head: str, license_name: str) -> None:
    found = find_license({"README.md": f"---\n{head}\nlicense: {license_name}\n---\n".encode("utf-8", "replace")})
    assert found.fault.isprintable()
    assert all(name.isprintable() for name in found.names)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("llama3.1", "Llama 3.1 Community License Agreement", True),
        ("llama3.1", "llama-3.1", True),
        ("apache-2.0", "Apache License, Version 2.0", True),
        ("mit", "MIT License", True),
        ("llama3.1", "llama3.2", False),
        ("llama3", "llama3.1", False),
        ("apache-2.0", "mit", False),
    ],
)
def test_the_same_license_by_another_name(one: str, other: str, same: bool) -> None:
    assert same_license(one, other) is same
    assert same_license(other, one) is same
