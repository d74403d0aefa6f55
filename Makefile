# Every target works on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export POLARS_MAX_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-kafka kafka kafka-down test soak check lint format bench bench-kafka docs lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create the virtual environment with the pinned packages (done by the others when needed)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "flexlog needs Python 3.11 or newer; set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## a week of 17 real homes: traded, dispatched, settled, replayed; pictures in out/demo/report.html
	$(BIN)/flexlog demo --out out/demo

demo-kafka: $(READY) ## the same chain on a real Kafka, workers killed on the way: the settlement equals (needs Java 17 and Maven)
	$(BIN)/flexlog demo-kafka --out out/demo-kafka

kafka: $(READY) ## a Kafka and a schema registry on this machine (needs Java 17 and Maven)
	$(BIN)/flexlog kafka up

kafka-down: $(READY) ## end them; their data stays
	$(BIN)/flexlog kafka down

test: $(READY) ## all tests (CI=true: a missing part is a failure)
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/faults
	$(BIN)/python -m pytest tests/faults

check: $(READY) ## lint, types, import rules, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/flexlog contracts check
	$(BIN)/flexlog docs --check

lint: check ## the same as check

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## readings to settled intervals per second, beside bare decoders; writes bench/local.json
	$(BIN)/python bench/local.py

bench-kafka: $(READY) ## the same job on one broker by flexlog, a plain consumer, Kafka Streams, Quix and Faust; writes bench/kafka.json
	$(BIN)/python -m bench.kafka

soak: $(READY) ## the long fault suite: workers and brokers killed two hundred times, and nothing lost or doubled
	$(BIN)/python -m tests.faults.soak --kills 200

docs: $(READY) ## reference pages and pictures of the docs (after make demo)
	$(BIN)/flexlog docs
	@mkdir -p docs/images
	@for name in chain home_day_1; do cp out/demo/pictures/$$name.svg docs/images/$$name.svg; done

lock: $(READY) ## resolve requirements.lock anew
	$(BIN)/python -m piptools compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --strip-extras \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.lock pyproject.toml

clean: ## remove the environment and what the demo made
	rm -rf $(VENV) out build *.egg-info
