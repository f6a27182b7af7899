# skinclf: everything a contributor types. `make help` lists the targets.
# Needs GNU make, a POSIX shell and Python 3.11 to 3.13; everything else goes into .venv.
#
#   make test PYTHON=python3.12             another Python (after `make clean`)
#   make test JOBS=4 PYTEST_ARGS="-k spec"  more processes, fewer tests
#   make predict PIP_ARGS="..."             options of `pip install`, such as an index with CPU-only PyTorch

PYTHON ?=
JOBS ?= 2
PIP_ARGS ?=
PYTEST_ARGS ?=
# What the tests need beyond the base, so that no parity test is skipped; tf_keras reads Keras 2 files.
TEST_EXTRAS ?= dev,train,onnx,int8,parquet,tensorflow,dicom,ray,serve
TEST_PACKAGES ?= tf_keras

VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Python compiles the modules that are imported; pip would first compile all 28,000, on one core.
INSTALL := $(PIP) install --quiet --no-compile $(PIP_ARGS)
# A process goes on with the tests that lie beside one another, whose fixtures it has made, until the other is idle.
RUN_TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)
SOURCES := skinclf cli/skinclf_cli training/skinclf_training
TYPED := $(SOURCES) tests/support tests/conftest.py
# A second environment with the oldest versions that pyproject.toml admits.
OLDEST := .venv-oldest
OLDEST_BIN := $(OLDEST)/$(notdir $(BIN))
OLDEST_EXTRAS ?= train,onnx,int8,parquet,dicom,serve

# Stamps live inside .venv: no .venv, no stamps.
MADE := $(VENV)/stamp-made
READY := $(VENV)/stamp-run
TESTS := $(VENV)/stamp-test
ALL := $(VENV)/stamp-all

.DEFAULT_GOAL := help
.PHONY: predict test test-all test-times test-oldest lint lint-types lint-layout lint-imports lint-dependencies format docs release-check bench clean help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /|/' | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

predict: $(READY) ## Install, then classify the example images with the built-in model
	$(BIN)/skinclf predict --image-dir examples/images --output preds.csv --overwrite
	@echo; cut -d, -f1-6 preds.csv | head -n 6

test: $(TESTS) ## Install what the tests need, then run them
	$(RUN_TESTS)

test-all: $(ALL) ## The same with every optional dependency installed
	$(RUN_TESTS)

test-times: $(TESTS) ## Run the tests in one process; the most expensive rooms, files, tests and fixtures
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m pytest -q -p support.cpu_times $(PYTEST_ARGS)

test-oldest: ## Run the fast tests with the oldest versions of all dependencies (Python 3.11, several GB)
	"$(or $(PYTHON),python3.11)" -m venv --clear $(OLDEST)
	$(OLDEST_BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile $(PIP_ARGS) \
		--constraint tests/oldest.txt -e '.[$(OLDEST_EXTRAS)]' 'pytest>=8' 'pytest-xdist>=3.6' 'hypothesis>=6.100'
	OMP_NUM_THREADS=1 $(OLDEST_BIN)/python -m pytest -n $(JOBS) -m "not slow" $(PYTEST_ARGS)

lint: $(TESTS) ## Check layout, types, directions of imports and declared dependencies
	@$(MAKE) --no-print-directory -j $(JOBS) lint-types lint-layout lint-imports lint-dependencies

lint-types: $(TESTS)
	$(BIN)/mypy $(TYPED)

lint-layout: $(TESTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-imports: $(TESTS)
	$(BIN)/lint-imports

lint-dependencies: $(TESTS)
	$(BIN)/deptry .

format: $(TESTS) ## Let ruff lay out the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(TESTS) ## Rewrite the reference from the code and build the site of this release: build/site/index.html
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/site/$$($(BIN)/python docs/releases.py --version)
	$(BIN)/python docs/releases.py build/site

release-check: $(TESTS) ## Build wheel and sdist, check them, and run the promised lines from each
	$(BIN)/python tools/release_check.py

bench: $(TESTS) ## Run the benchmarks (about two hours; needs transformers for one of the comparisons)
	$(INSTALL) transformers
	$(BIN)/python -m benchmarks.speed.run speed --json docs/measured/precisions.json
	$(BIN)/python -m benchmarks.speed.builtin_models --work build/bench --json docs/measured/builtin-models.json
	$(BIN)/python -m benchmarks.speed.run scale --json docs/measured/scale.json
	$(BIN)/python -m benchmarks.speed.run resume --json docs/measured/resume.json
	$(BIN)/python -m benchmarks.speed.run startup --json docs/measured/startup.json
	$(BIN)/python -m benchmarks.speed.scaling --work build/bench --json docs/measured/scaling.json
	$(BIN)/python -m benchmarks.training.steps --work build/bench --json docs/measured/training.json
	$(BIN)/python -m benchmarks.training.pipeline --seconds 4 --json docs/measured/pipeline.json
	$(BIN)/python -m benchmarks.speed.metadata_cost --json docs/measured/metadata-cost.json
	$(BIN)/python -m benchmarks.answers.scaled_decoding --json docs/measured/scaled-decoding.json
	$(BIN)/python -m benchmarks.speed.run plan --json docs/measured/speed.json
	$(BIN)/python -m benchmarks.serving.serve throughput latency --json docs/measured/serve.json
	$(BIN)/python -m benchmarks.serving.serve memory --json docs/measured/serve-memory.json
	$(BIN)/python -m benchmarks.gate.fit ham10000-efficientnet-lite0 --cost 5 --work build/bench --out docs/measured/gate-cost.json
	$(BIN)/python docs/generate.py

clean: ## Remove the environment, caches and outputs (data/ and runs/ stay)
	rm -rf $(VENV) $(OLDEST) .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	rm -f preds.csv preds.csv.run.json
	find $(SOURCES) tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python of 3.11 to 3.13 that runs and can make environments (a name on PATH may be an empty shim).
$(MADE):
	@set -e; found=; \
	for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python); do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
			>/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "No usable Python $(or $(PYTHON),3.11 to 3.13) with venv and ensurepip was found." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	echo "$$found ($$("$$found" --version)) makes $(VENV)"; \
	"$$found" -m venv --clear $(VENV)
	$(PIP) install --quiet --upgrade pip
	@touch $@

$(READY): pyproject.toml | $(MADE)
	$(INSTALL) -e .
	@touch $@

$(TESTS): pyproject.toml | $(MADE)
	$(INSTALL) -e '.[$(TEST_EXTRAS)]' $(TEST_PACKAGES)
	@touch $(READY) $@

$(ALL): pyproject.toml | $(MADE)
	$(INSTALL) -e '.[all,dev]' $(TEST_PACKAGES)
	@touch $(READY) $(TESTS) $@
