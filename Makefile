# The same targets that CI runs. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

.PHONY: help setup demo fmt lint types layers check test test-all fuzz e2e e2e-install screenshots bench bench-quick bench-install build image lock clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/ready ## make the virtual environment

$(VENV)/ready: requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "healthproxy needs Python 3.11 or later; install it, or run make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the main job on your terminal: an app, the sidecar, a prober
	@$(BIN)/healthproxy demo

fmt: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

check: lint types layers ## everything that reads the code without running it

test: setup ## the tests; no root needed
	$(BIN)/pytest -m "not e2e" --cov --cov-report=term

test-all: ## the tests on every CPython from 3.11 that this machine has
	sh tests/every_python.sh

fuzz: setup ## new hostile bytes for FUZZ_SECONDS, by default 300; prints what breaks something as a case to keep
	$(BIN)/python -m tests.fuzz

e2e: setup e2e-install ## the tests with real parts, from nginx and Envoy to a browser, which it installs when run as root; half an hour
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pytest -m e2e

e2e-install: setup
	sh .ci/install.sh nginx:nginx-light ip:iproute2 iptables:iptables unshare:util-linux prometheus:prometheus redis-server:redis-server wrk:wrk \
	    podman:podman buildah:buildah runc:runc catatonit:catatonit mmdebstrap:mmdebstrap busybox:busybox-static chromium:chromium
	$(PIP) install --require-hashes --requirement requirements-e2e.txt

screenshots: setup e2e-install ## the pictures of the history page in docs/images, as root; two minutes
	$(BIN)/python -m tests.e2e.screenshots docs/images

bench: bench-install ## what it costs beside nginx, Envoy, Go and exec curl, written to docs/BENCHMARKS.md; eight minutes
	$(BIN)/python bench/costs.py --page docs/BENCHMARKS.md

bench-quick: bench-install ## a small part of that, printed only
	$(BIN)/python bench/costs.py --quick

bench-install: setup
	sh .ci/install.sh nginx:nginx-light wrk:wrk curl:curl podman:podman buildah:buildah runc:runc mmdebstrap:mmdebstrap
	-$(PIP) install --require-hashes --requirement requirements-bench.txt

build: setup ## the wheel, and a try of it in an empty environment
	sh tests/wheel.sh $(BIN)/python

image: ## the container image, healthproxy:VERSION, with docker, podman or buildah
	sh docker/build.sh

lock: ## choose the versions of all dependencies anew
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file requirements.txt pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file requirements-dev.txt requirements-dev.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file requirements-e2e.txt requirements-e2e.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file requirements-bench.txt requirements-bench.in

clean: ## remove what the targets made
	rm -rf $(VENV) .venv-* dist .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
