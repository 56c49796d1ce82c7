PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: run test lint fidelity clean

run: $(READY)  ## the main job on the built-in example: Llama-70B Galaxy prefill, 8k tokens, ring of 4
	$(BIN)/tensix-sim run

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/pip install --quiet -e '.[dev]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

fidelity: $(READY)  ## docs/fidelity.md: published walls beside their predictions; takes minutes
	$(BIN)/pip install --quiet -e '.[plot]'
	$(BIN)/python benchmarks/fidelity.py

clean:
	rm -rf $(VENV) build dist *.egg-info traces/runs
