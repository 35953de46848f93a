# Two commands: `make demo` and `make test`. Each sets up all that it needs (Python 3.11 and a package registry suffice).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked

.PHONY: demo test nightly e2e faults hostile model-check bench release lint format lock crd clean bytecode

demo: bytecode
	$(BIN)/fairlead demo $(ARGS)

test: bytecode
	$(BIN)/python -m tests $(ARGS)

# Every test, each story with all requests and waits; then a fault at every write, hostile requests, and a million steps of the
# model.
nightly: bytecode
	$(BIN)/python -m tests --nightly $(ARGS)
	$(MAKE) faults ARGS=
	$(MAKE) hostile ARGS=
	$(MAKE) model-check ARGS=

# On a node of its own, with real pods (docs/development/node.md). Linux and root; the first run builds what a node needs.
# `ARGS=--core` runs the core path alone: install, predict, canary, scale, uninstall.
e2e: bytecode
	$(BIN)/python -m tests.node $(ARGS)

# Nightly. A fault at every write of fifteen stories (some two hours; `ARGS='--group kills'` for the kills alone), and
# a million steps of the planner's model; `make test` runs a sample of either.
faults: bytecode
	$(BIN)/python -m tests.faults $(ARGS)

# Hostile requests of four kinds, 20,000 of each, at a real gateway and replica, beside a client whose answers must be right.
hostile: bytecode
	$(BIN)/python -m tests.hostile $(ARGS)

model-check: $(STAMP)
	FAIRLEAD_MODEL_STEPS=$${FAIRLEAD_MODEL_STEPS:-1000000} FAIRLEAD_MODEL_SEED=$${FAIRLEAD_MODEL_SEED:-$$(date +%s)} \
	    $(BIN)/python -m pytest -q -s tests/unit/operator/plan/test_invariants.py $(ARGS)

# Our replica and gateway against other model servers, each in an environment of its own (docs/benchmarks.md). Hours with
# everything; `ARGS='--models dense --encodings json --connections 16 --rounds 3 --seconds 2'` is a short run.
bench: bytecode
	$(BIN)/python -m benchmarks.peers $(ARGS)

# The chart, the wheel, images with their bills of materials, and checksums, in dist/ (docs/development/releases.md).
release: bytecode
	$(BIN)/python -m release $(ARGS)

# What a contributor runs before each commit: seconds, no real processes.
lint: $(STAMP)
	$(BIN)/python -m pytest -q tests/architecture

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crd: $(STAMP)
	$(BIN)/python -m fairlead_operator.api.crd

# The lock holds hashes and no host: whichever registry pip and uv are set up for serves it.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock > /dev/null
	for image in operator gateway ray-node; do \
	    $(BIN)/uv pip compile pyproject.toml --extra $$(echo $$image | sed s/ray-node/runtime/) --python-version 3.11 \
	        --constraints requirements.lock --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet \
	        -o images/$$image/requirements.lock > /dev/null || exit 1; \
	done

# A process that finds no bytecode compiles all that it imports, each time. Ours is brought up to date here, for where
# PYTHONDONTWRITEBYTECODE is set (it is inherited by every replica) no process would write it.
bytecode: $(STAMP)
	@$(BIN)/python -m compileall -q operator runtime cli release tests benchmarks examples

$(STAMP): requirements.lock requirements-bootstrap.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "Fairlead needs Python 3.11: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
