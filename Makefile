# Everything a developer and CI run. `make demo` and `make test` need nothing but Python 3.11, Go, make and root
# (the test bed makes network namespaces); what else is missing they install or name.

UV_VERSION := $(shell sed -n "s/^uv==\([0-9.]*\) .*/\1/p" .ci/uv.txt)
PYTHON ?= python3.11
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/llama-operator
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
RUN := .venv/bin/python
# Ray and vLLM: the same lock file, an environment of its own because of its size. Checkouts share it, so this project is
# not installed in it. Triton is for GPUs, zizmor for the workflows of CI.
SERVING_VENV := $(CACHE)/serving-venv
SERVING_RUN := PYTHONPATH=$(CURDIR)/serving:$(CURDIR)/serving/image:$(CURDIR)/operator $(SERVING_VENV)/bin/python
# The gateway called by clients that users have: installed by the tests, so not part of `make unit`.
CLIENTS := tests/component/gateway/clients
# Pure tests of what is changed most often; whole simulations and random worlds are left to `make unit`.
QUICK := $(addprefix tests/unit/,api gateway/routing cell/policy operator/plan test_structure.py) \
	--ignore-glob='*simulation*' --ignore-glob='*properties*'
# Some machines forbid byte code: then each process of a test run compiles thousands of modules for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup serving-setup demo test check quick unit contract serving e2e gpu-image soak testbed-tests format generate bench down clean

help:  ## Show the targets.
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/.synced  ## The development environment in .venv.

.venv/.synced: pyproject.toml uv.lock $(UV)
	$(UV) sync --frozen --compile-bytecode --extra dev --group sbom
	@touch $@

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3.11 python3.11-venv, or set PYTHON"; exit 1; }
	$(PYTHON) -m venv $(CACHE)/uv-$(UV_VERSION)
	$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet --require-hashes --only-binary=:all: --requirement .ci/uv.txt

serving-setup: setup $(SERVING_VENV)/.synced  ## The environment with Ray and vLLM (5.6 GB).

$(SERVING_VENV)/.synced: pyproject.toml uv.lock $(UV)
	UV_PROJECT_ENVIRONMENT=$(SERVING_VENV) $(UV) sync --frozen --no-install-project --no-install-package triton --no-install-package zizmor \
		--compile-bytecode \
		--extra serving --extra models --extra dev --group sbom
	@touch $@

demo: setup serving-setup  ## From nothing to a streamed answer of two stages on two nodes.
	$(RUN) -m examples.demo

test: check unit contract testbed-tests serving e2e  ## All checks and all tests.

check: setup  ## Style, types, layers, generated files.
	.ci/check

quick: setup  ## Pure tests of plan, api, routing and cell policy: half a minute, for the inner loop.
	$(RUN) -m pytest --numprocesses=2 --dist=worksteal $(QUICK)

unit: setup  ## Pure tests, tests against our fakes, wiring of kopf.
	$(RUN) -m pytest --numprocesses=2 --dist=worksteal tests/unit tests/component tests/wiring --ignore=$(CLIENTS)

contract: setup  ## The CRD and our client against a real API server, weights against real stores, users' clients.
	$(RUN) -m pytest --numprocesses=2 --dist=worksteal tests/contract tests/weights $(CLIENTS)

testbed-tests: setup  ## The test bed itself.
	$(RUN) -m pytest --numprocesses=2 --dist=loadfile tests/testbed

serving: serving-setup  ## Ray and vLLM: the CPU pipeline and a cell in two network namespaces.
	$(SERVING_RUN) -m pytest --numprocesses=2 --dist=loadfile tests/serving

e2e: setup serving-setup  ## The whole line on the two-node test bed.
	$(RUN) -m pytest --durations=15 tests/e2e

gpu-image: setup  ## Build the GPU image and try it without a GPU: a quarter of an hour and 42 GB of disk, not part of `make test`.
	$(RUN) -m pytest --durations=15 -s tests/gpu_image

soak: setup serving-setup  ## What takes many minutes: full numbers of upgrades and kills, ten minutes of each fuzzer (hours).
	LLAMA_SOAK=1 $(RUN) -m pytest --numprocesses=2 tests/unit/weights/hostile tests/unit/replay tests/component/gateway/garbage
	LLAMA_SOAK=1 $(SERVING_RUN) -m pytest tests/serving/test_cell.py tests/serving/surface tests/serving/replay
	LLAMA_SOAK=1 $(RUN) -m pytest --durations=15 tests/e2e

format: setup  ## Format and sort.
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

generate: setup  ## Write the generated files (CRDs, their copy in the chart, docs/reference/api.md).
	$(RUN) -m llama_operator.api.crdgen

bench: setup serving-setup  ## Benchmarks of the gateway, printed as a table.
	$(RUN) -m benchmarks.gateway

down: setup  ## Take the test bed down; nothing of it stays but its cache.
	$(RUN) -m testbed down

clean:  ## Remove the environment.
	rm -rf .venv
