PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# A process for each core; at most four, because each loads the model that it tests (1 GB).
PARALLEL := -n logical --maxprocesses 4 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup book site-report test gpu-test audit lint ioi bench clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Install everything into .venv and check the model file
	@echo 'Everything is installed in $(VENV).'

book: $(READY) ## Build the book, running every page that changed
	$(PY) book/build.py

site-report: $(READY) ## Say what each page of the built book weighs; fail over the budget
	$(PY) book/report.py

test: $(READY) ## Run the tests; for a part: make test ARGS="-m 'not slow'"
	$(PY) -m pytest $(PARALLEL) $(ARGS)

audit: $(READY) ## Run what takes too long for every change (hours); for a part: make audit ARGS=fuzz
	$(PY) tests/audit.py $(ARGS)

gpu-test: $(READY) ## Run the tests that need a GPU (NVIDIA or Apple)
	$(PY) -m pytest tests/gpu $(ARGS)

lint: $(READY) ## Check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy pathpatch exercises solutions

ioi: $(READY) ## Trace the IOI task in SmolLM2; results go to out/ioi
	$(PY) -m pathpatch ioi --out out/ioi

bench: $(READY) ## Measure speed, memory and exactness of sweeps (about 40 minutes)
	$(PY) tests/bench.py

clean: ## Remove .venv, out and the caches in this folder
	rm -rf $(VENV) out *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone: requirements.lock says why.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or later is needed. If you have it under another name, say for example:'; \
	  echo '  make setup PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo '$(PYTHON) cannot make virtual environments. On Debian or Ubuntu, as administrator:'; \
	  echo '  apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -c requirements.lock torch
	$(PY) -m pip install --no-deps -r requirements.lock
	$(PY) -m pip install --no-deps --no-build-isolation -e .
	$(PY) -m pathpatch check-model
	@touch $@
