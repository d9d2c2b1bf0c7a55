# Every target does its own set-up. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lab bench check clean setup

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## run the main job on the embedded platform; last line: path of the HTML report
	@$(BIN)/runbook demo

test: check ## check, then every test
	@$(BIN)/python -m pytest -n 2

lab: $(STAMP) ## JupyterLab on notebooks/, against the demo or the configured platform
	@$(BIN)/runbook lab

bench: $(STAMP) ## the benchmarks
	@$(BIN)/python -m benchmarks

check: $(STAMP) ## lint, format, types, layers, stripped notebooks
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports
	@find notebooks -name '*.ipynb' -not -path '*/.*' -exec $(BIN)/nbstripout --keep-id --verify {} +

setup: $(STAMP) ## the virtual environment alone

clean: ## remove the virtual environment, caches and built reports
	rm -rf $(VENV) build dist reports .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf lib/*.egg-info

# Remade when the dependencies change, and when the checkout has moved (scripts in a venv hold its path).
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: $(PYTHON) is missing or older than 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@if [ -e $(STAMP) ] && [ "$$(cat $(STAMP))" != "$(CURDIR)" ]; then $(PYTHON) -m venv --clear $(VENV); \
	  elif [ ! -x $(BIN)/python ]; then $(PYTHON) -m venv $(VENV); fi
	@$(BIN)/python -m pip install --quiet --no-input -c constraints.txt -e '.[test]'
	@IPYTHONDIR=$(VENV)/etc/ipython $(BIN)/python -m ipykernel install --sys-prefix --name runbook --display-name Runbook >/dev/null
	@$(BIN)/python -m runbook.kernels.spec
	@$(BIN)/jupyter labextension disable --level=sys_prefix "@jupyterlab/apputils-extension:announcements" >/dev/null 2>&1
	@printf '%s' "$(CURDIR)" > $(STAMP)
