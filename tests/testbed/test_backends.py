"""Which cluster is chosen, and what is missing on a machine."""

import pytest

from testbed import backends
from testbed.backends import Current, Kind, Own
from testbed.cache import packages
from testbed.errors import BedError


@pytest.mark.parametrize(
    ("env", "docker", "alone", "expected"),
    [
        ({}, False, False, Own("x")),
        ({}, True, False, Kind("x")),
        ({}, True, True, Own("x")),  # kind has no control plane alone
        ({"CLUSTER": "own"}, True, False, Own("x")),
        ({"CLUSTER": "kind"}, False, False, Kind("x")),
        ({"CLUSTER": "current", "KUBECONFIG": "/k"}, True, False, Current("/k")),
        ({"KUBECONFIG": "/k"}, False, False, Own("x")),  # never touched unless asked to
    ],
)
def test_choose(env: dict[str, str], *, docker: bool, alone: bool, expected: backends.Cluster) -> None:
    assert backends.choose("x", env=env, docker_runs=docker, alone=alone) == expected


@pytest.mark.parametrize("env", [{"CLUSTER": "current"}, {"CLUSTER": "mine"}])
def test_a_choice_without_sense_is_a_sentence(env: dict[str, str]) -> None:
    with pytest.raises(BedError, match=r"CLUSTER=(current needs KUBECONFIG|mine is not known)"):
        backends.choose("x", env=env, docker_runs=False, alone=False)


def test_a_foreign_cluster_is_not_loaded_into() -> None:
    with pytest.raises(BedError, match="push them to a registry"):
        Current("/k").images()
    with pytest.raises(BedError, match="push a:1 to a registry"):
        Current("/k").load("a:1")


def test_what_is_missing_is_named_by_package() -> None:
    assert packages.missing({"sh": "dash", "no-such-program": "nsp", "/no/such/file": "nsf"}) == ["nsf", "nsp"]


def test_without_root_the_sentence_holds_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(BedError, match="sudo apt-get install --no-install-recommends nsp"):
        packages.ensure({"no-such-program": "nsp"})
