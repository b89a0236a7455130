# Every verb sets up what it needs: a virtual environment with the MLX back end of this machine.

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
OUT ?= out/demo
TESTS ?= not parity

# MLX's Linux back ends exclude each other; on macOS the plain wheel is Metal.
ifeq ($(shell uname -s),Darwin)
EXTRA :=
else ifneq ($(shell command -v nvidia-smi 2>/dev/null),)
EXTRA := [cuda]
else
EXTRA := [cpu]
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo real test test-parity check bench tiny clean

help:  ## list these verbs
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## make the virtual environment

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.$(EXTRA)' --group dev
	@touch $@

# The layer and strength for sums were chosen on other sums than those that are shown (--seed 7).
demo: setup  ## from prompts to steered text on the model that ships with circuit
	@$(MAKE) --no-print-directory -j 2 -f pipelines/tool_calling.mk MODEL=tiny OUT=$(OUT) \
	  CIRCUIT=$(BIN)/circuit SUM_LAYER=1 SUM_STRENGTHS=0,0.9

real: setup  ## probe two small trained models, fetched as GGUF files into out/models
	$(BIN)/python pipelines/real/models.py --out out/models
	@for model in smollm2 gemma3-270m; do \
	  $(MAKE) --no-print-directory -f pipelines/stratigraphy.mk MODEL=out/models/$$model.gguf \
	    OUT=out/real/$$model CIRCUIT=$(BIN)/circuit || exit 1; \
	done

test: setup  ## every test but the comparison with PyTorch
	$(BIN)/python -m pytest -m "$(TESTS)" --numprocesses auto --dist loadfile --no-loadscope-reorder $(PYTEST)

test-parity: setup  ## hidden states and logits against transformers (installs PyTorch)
	$(BIN)/python -m pip install --quiet --group parity
	# Its metadata ask for NumPy 1; its reader of control vectors runs on 2.
	$(BIN)/python -m pip install --quiet --no-deps repeng==0.4.0
	$(BIN)/python -m pytest -m parity

check: setup  ## ruff, mypy --strict and the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@$(MAKE) --no-print-directory test

bench: setup  ## speed of matrix products, collection and steering, as ratios
	$(BIN)/python tests/bench/run.py

tiny: setup  ## train the embedded model again (an hour on two cores)
	$(BIN)/python pipelines/tiny/train.py --out circuit/assets/tiny

clean:  ## remove what the other verbs made
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
