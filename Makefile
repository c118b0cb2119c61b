# Two environments: .venv has the torch-free runtime, .venv-dev has everything. Each target makes what it needs.

PYTHON ?= python3
# PyPI's torch for Linux brings gigabytes of CUDA; this index has the CPU build. pip goes on without it if unreachable.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Python compiles what it imports: compiling all of torch at once would take longer than the rest.
PIP_INSTALL = -m pip install --quiet --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
PIP_INSTALL_LOWEST = $(subst constraints.txt,$(@D)/constraints.txt,$(PIP_INSTALL))

RUN = .venv/bin
DEV = .venv-dev/bin
STORYTELLER = artifacts/storyteller/bundle
SMOLLM2 = none int8 int4 w8a8
PROMPT ?= Once upon a time
SHARE ?= 1

# The suite has two parts, one for each environment. Where loading is tested, torch must be there to be left alone.
TORCH_FREE = tests/runtime tests/server tests/cli tests/property tests/test_*.py
WITH_TORCH = tests/export tests/interop tests/cli/test_program.py tests/runtime/test_package.py tests/test_architecture.py
WORKERS ?= 2
PYTEST = pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
# With COVERAGE=1 the torch-free tests also measure branch coverage, and fail below the floor in pyproject.toml.
export COVERAGE_FILE = $(CURDIR)/.cache/coverage/data
MEASURE = $(if $(COVERAGE),$(RUN)/coverage erase && $(RUN)/coverage run -m ,$(RUN)/)
REPORT = $(if $(COVERAGE),$(RUN)/coverage combine --quiet && $(RUN)/coverage report)

.DEFAULT_GOAL := help
.PHONY: help demo test test-torch-free test-with-torch test-lowest prove fuzz check fix bench bench-peers package smollm2 clean

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: .venv/.runtime ## Tell a story with the demo model (installs the runtime without torch)
	@$(RUN)/llmb generate text --model $(STORYTELLER) --prompt "$(PROMPT)" --max-tokens 400 \
		--set return_full_text=true

test: test-torch-free test-with-torch ## Run the whole test suite, each part in its environment (installs everything)

test-torch-free: .venv/.tests ## Run the tests of runtime and command line in an environment without torch
	$(MEASURE)$(PYTEST) $(TORCH_FREE)
	$(REPORT)

test-with-torch: .venv-dev/.everything ## Run the tests of export, and those that compare with other implementations
	$(DEV)/$(PYTEST) $(WITH_TORCH)

# Old versions use what newer ones of others deprecate.
OLD = -W default::DeprecationWarning
test-lowest: .venv-lowest/.tests .venv-lowest-dev/.everything ## Run the suite with the lowest versions that pyproject.toml allows
	.venv-lowest/bin/$(PYTEST) $(OLD) $(TORCH_FREE)
	.venv-lowest-dev/bin/$(PYTEST) $(OLD) $(WITH_TORCH)

prove: .venv/.tests .venv-dev/.everything .venv-oracle/.transformers ## Run the long proofs that have no result yet, or PART="name ..."
	$(DEV)/python scripts/prove.py $(PART); status=$$?; $(DEV)/python scripts/families_page.py; exit $$status

fuzz: .venv-dev/.everything ## Give our code a million inputs that nobody would write, or SHARE=0.01 of them
	$(DEV)/python scripts/fuzz.py --share=$(SHARE)

check: .venv-dev/.everything ## Lint, formatting, types
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy

fix: .venv-dev/.everything ## Format, repair what ruff can, write the API reference anew
	$(DEV)/ruff check --fix
	$(DEV)/ruff format
	$(DEV)/python scripts/api_pages.py

package: .venv-dev/.everything ## Build sdist and wheel, and try the wheel as the Dockerfile installs it
	rm -rf dist
	$(DEV)/python -m build --no-isolation --outdir dist
	PIP_QUIET=2 PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(DEV)/python scripts/try_image.py --python $(PYTHON)

bench: smollm2 artifacts/smollm2-int8-kv8 ## Measure speed and memory with SmolLM2; results go to benchmarks/results
	for program in decode_speed batching step_overhead memory beam_cost prompt_lookup constraints kv_cache; do $(DEV)/python benchmarks/$$program.py || exit; done
	$(DEV)/python benchmarks/continuous_batching.py $(STORYTELLER) artifacts/smollm2-int8

bench-peers: .venv/.runtime .venv-dev/.everything .venv-oracle/.transformers artifacts/smollm2/config.json ## Measure ours beside every CPU peer, or OPTIONS="--quick" (installs and builds them)
	PYTHONPATH=benchmarks:runtime:export:cli $(DEV)/python -m peers $(OPTIONS)

smollm2: $(SMOLLM2:%=artifacts/smollm2-%) ## Fetch SmolLM2-135M-Instruct and export it as fp32, int8, int4 and w8a8 bundles

clean: ## Remove environments, caches and builds
	rm -rf .venv .venv-dev .venv-lowest .venv-lowest-dev .venv-oracle .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dist

.venv/.runtime: pyproject.toml constraints.txt
	@$(call make_venv,.venv,the torch-free runtime)
	@$(RUN)/python $(PIP_INSTALL) --editable '.[cpu]'
	@touch $@

.venv/.tests: .venv/.runtime
	@echo "Installing test tools into .venv ..."
	@$(RUN)/python $(PIP_INSTALL) --editable '.[cpu,constraints,metrics,serve,dev]'
	@touch $@

.venv-dev/.everything: pyproject.toml constraints.txt
	@$(call make_venv,.venv-dev,everything (with torch: some minutes))
	@$(DEV)/python $(PIP_INSTALL) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) torch
	@$(DEV)/python $(PIP_INSTALL) --editable '.[cpu,export,constraints,metrics,serve,dev]'
	@touch $@

.venv-lowest/.tests: pyproject.toml constraints.txt
	@$(call make_venv,.venv-lowest,the torch-free runtime with the lowest versions)
	@$(PYTHON) scripts/lowest.py > $(@D)/constraints.txt
	@$(@D)/bin/python $(PIP_INSTALL_LOWEST) --editable '.[cpu,constraints,metrics,serve,dev]'
	@touch $@

.venv-lowest-dev/.everything: pyproject.toml constraints.txt
	@$(call make_venv,.venv-lowest-dev,everything with the lowest versions)
	@$(PYTHON) scripts/lowest.py > $(@D)/constraints.txt
	@$(@D)/bin/python $(PIP_INSTALL_LOWEST) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) torch
	@$(@D)/bin/python $(PIP_INSTALL_LOWEST) --editable '.[cpu,export,constraints,metrics,serve,dev]'
	@touch $@

# The release whose rules are ours; the project itself works with a newer one.
.venv-oracle/.transformers: constraints.txt
	@$(call make_venv,.venv-oracle,transformers 4.46.3 to compare with)
	@.venv-oracle/bin/python $(PIP_INSTALL) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) torch
	@.venv-oracle/bin/python $(subst --constraint constraints.txt,,$(PIP_INSTALL)) transformers==4.46.3
	@touch $@

artifacts/smollm2/config.json: | .venv-dev/.everything
	$(DEV)/python scripts/smollm2.py --output artifacts/smollm2

artifacts/smollm2-%: artifacts/smollm2/config.json
	$(DEV)/llmb export artifacts/smollm2 --quantize $* --output $@ --overwrite

artifacts/smollm2-int8-kv8: artifacts/smollm2/config.json
	$(DEV)/llmb export artifacts/smollm2 --quantize int8 --kv-cache int8 --output $@ --overwrite

define make_venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "$(PYTHON) is no Python 3.11 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
echo "Installing $(2) into $(1) ..."
$(PYTHON) -m venv $(1)
endef
