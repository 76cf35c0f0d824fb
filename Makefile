# Everything a person or a machine does with this repository. `make help` lists it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run test test-faults test-kills test-long check format schemas deploy-files bench bench-cluster lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(VENV)/run.stamp: deploy/requirements.txt deploy/build.txt pyproject.toml
	@echo "Installing Coexist into $(VENV) (once) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes -r deploy/requirements.txt -r deploy/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp tests/requirements.txt
	@echo "Installing the test tools into $(VENV) (once) ..."
	@$(PIP) install --require-hashes -r tests/requirements.txt
	@touch $@

run: $(VENV)/run.stamp ## install, then run the demo: everything in one process, Meta included
	@exec $(BIN)/coexist demo

test: $(VENV)/dev.stamp ## every test, in under ten minutes
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-faults: $(VENV)/dev.stamp ## what takes minutes: kills, freezes and outages on the cluster edition
	@$(BIN)/python -m pytest -m faults

test-kills: $(VENV)/dev.stamp ## of those, the processes that are killed, frozen and cut off: what CI runs
	@$(BIN)/python -m pytest -m "faults and crash" --durations=15

test-long: $(VENV)/dev.stamp ## everything, in its long variants: more cases, more kills
	@COEXIST_TEST_LONG=1 $(BIN)/python -m pytest -m "faults or not faults"

check: $(VENV)/dev.stamp ## lint, types, import rules, generated files in step, Kubernetes files valid, the contract compatible
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --diff .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/coexist schemas export --check schemas/json
	@$(BIN)/python -m deploy.generate --check
	@$(BIN)/python -m pytest -q --no-header tests/deploy/test_kubernetes.py tests/contract

format: $(VENV)/dev.stamp ## let ruff format and mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

schemas: $(VENV)/run.stamp ## write the JSON Schemas and the AsyncAPI document anew
	@$(BIN)/coexist schemas export schemas/json

deploy-files: $(VENV)/dev.stamp ## write the dashboards, the metrics' page and the generated Kubernetes files anew
	@$(BIN)/python -m deploy.generate

bench: $(VENV)/run.stamp ## the figures of performance, as ratios in one run
	@$(BIN)/coexist bench

bench-cluster: $(VENV)/dev.stamp ## the cluster's figures (P6, P7), on a broker and a database that it starts
	@$(BIN)/python -m tests.kafka.bench

LOCK := $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --allow-unsafe --upgrade
lock: $(VENV)/dev.stamp ## pin every dependency anew, with hashes
	@$(LOCK) --all-extras --output-file deploy/requirements.txt pyproject.toml
	@$(LOCK) --output-file deploy/build.txt deploy/build.in
	@$(LOCK) --output-file tests/requirements.txt tests/requirements.in

clean: ## remove what make made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
