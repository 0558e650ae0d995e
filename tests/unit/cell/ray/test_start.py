"""Ray's start without what a cell does not use."""

import pytest

from llama_serving.cell.ray.start import dashboard_command, retried


def test_the_dashboard_gets_two_modules() -> None:
    assert dashboard_command(["dashboard.py", "--port=8265"])[-1] == "--modules-to-load=ServeHead,StateHead"


def test_a_raylet_that_is_listed_late_is_waited_for() -> None:
    answers = iter([RuntimeError("not listed"), RuntimeError("not listed"), {"node_id": "a"}])

    def get_node(node: str) -> object:
        assert node == "a"
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    assert retried(get_node, deadline=60, pause=0)("a") == {"node_id": "a"}


def test_a_raylet_that_is_never_listed_fails_with_rays_own_words() -> None:
    def get_node() -> object:
        raise RuntimeError("not listed")

    with pytest.raises(RuntimeError, match="not listed"):
        retried(get_node, deadline=0, pause=0)()
