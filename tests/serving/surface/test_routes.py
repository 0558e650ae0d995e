"""The table of routes against the installed vLLM and Ray Serve: a route that nobody decided on fails here."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from llama_serving.config.routes.table import ANSWERED, PASSED, PASSED_PATHS, ROUTES

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete", "head", "websocket", "api_route"})
_OTHER_SERVERS: Final = frozenset({"launchers", "grpc_server.py", "cli"})  # of vLLM's own launcher: Serve starts none


def written() -> dict[str, str]:
    """Every route that is declared in vLLM's entrypoints, mounted or not: path to file."""
    root = Path(next(iter(find_spec("vllm.entrypoints").submodule_search_locations)))  # type: ignore[union-attr, arg-type]
    found: dict[str, str] = {}
    for file in sorted(root.rglob("*.py")):
        if file.relative_to(root).parts[0] not in _OTHER_SERVERS:
            for path in declared(ast.parse(file.read_text(encoding="utf-8"))):
                found[path] = str(file.relative_to(root))
    return found


def declared(tree: ast.Module) -> Iterator[str]:
    """The literal paths of decorators such as ``@router.post("/x")``."""
    for node in ast.walk(tree):
        for call in getattr(node, "decorator_list", ()):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _METHODS:
                path = call.args[0] if call.args else None
                if isinstance(path, ast.Constant) and str(path.value).startswith("/"):
                    yield str(path.value)


@pytest.fixture(scope="module")
def app() -> Any:
    """vLLM's app as Ray Serve builds it for a model that generates, with Ray's own routes."""
    from ray.llm._internal.serve.core.server.llm_server import _add_openai_models_retrieve_route
    from ray.serve.llm import LLMConfig
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    made = build_app(make_arg_parser(FlexibleArgumentParser()).parse_args([]), supported_tasks=("generate",))
    _add_openai_models_retrieve_route(made, LLMConfig(model_loading_config={"model_id": "llama"}))
    return made


def mounted(app: Any) -> dict[str, set[str]]:
    from llama_serving.cell.replica.served_routes import plain_path

    found: dict[str, set[str]] = {}
    for route in app.routes:
        found.setdefault(plain_path(route.path), set()).update(getattr(route, "methods", None) or ())
    return found


def test_every_route_of_vllm_has_a_decision() -> None:
    listed = {route.path for route in ROUTES}
    undecided = {path: file for path, file in written().items() if path not in listed}
    assert not undecided, "decide on them in serving/llama_serving/config/routes/table.py"


def test_every_mounted_route_has_a_decision_and_its_methods_are_known(app: Any) -> None:
    listed = {route.path: set(route.methods) for route in ROUTES}
    found = mounted(app)
    assert found.keys() <= listed.keys(), found.keys() - listed.keys()
    assert len(found) > 30, "the app has its routes"
    for route in PASSED:
        assert found[route.path] <= set(route.methods), route


def test_the_table_has_no_route_that_is_gone(app: Any) -> None:
    known = written().keys() | mounted(app).keys()
    gone = {route.path for route in ROUTES if route.of_engine} - known
    assert not gone


def test_a_replica_mounts_what_is_passed_and_nothing_that_changes_the_engine(app: Any) -> None:
    from starlette.testclient import TestClient

    from llama_serving.cell.replica.served_routes import MOUNTED, unmount_others

    unmount_others(app)
    assert mounted(app).keys() == MOUNTED
    assert MOUNTED - PASSED_PATHS - {route.path for route in ANSWERED} == {"/metrics"}, "for the group's supervisor"
    client = TestClient(app, raise_server_exceptions=False)
    for path in sorted({route.path for route in ROUTES if route.of_engine} - MOUNTED):
        for method in ("GET", "POST"):
            assert client.request(method, path).status_code in (404, 405), (method, path)
    assert client.get("/openapi.json").status_code == 404
