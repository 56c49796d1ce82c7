PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
TOOLS := .tools

.PHONY: run test test-tools exact lint fidelity clean

run: $(READY)  ## the main job on the built-in example: Llama-70B Galaxy prefill, 8k tokens, ring of 4
	$(BIN)/tensix-sim run

test: $(READY)
	$(PYTEST)

lint: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[lint]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

test-tools: $(READY)  ## tt-perf-report and ttnn-visualizer as released, on emitted files; each in its own environment
	$(PYTHON) -m venv $(TOOLS)/perf-report
	$(TOOLS)/perf-report/bin/pip install --quiet --disable-pip-version-check 'tt-perf-report==1.4.1'
	$(PYTHON) -m venv $(TOOLS)/visualizer
	$(TOOLS)/visualizer/bin/pip install --quiet --disable-pip-version-check 'ttnn-visualizer==0.108.0'
	TENSIX_SIM_TOOLS=$(abspath $(TOOLS)) $(BIN)/python -m pytest tests/test_emit_tools.py

exact: $(READY)  ## the compiled arithmetic against its specification, a million operands an operation; takes minutes
	TENSIX_SIM_OPERANDS=1000000 $(PYTEST) tests/test_exact.py

fidelity: $(READY)  ## docs/fidelity.md: published walls beside their predictions; takes minutes
	$(BIN)/pip install --quiet -e '.[plot]'
	$(BIN)/python benchmarks/fidelity.py

clean:
	rm -rf $(VENV) $(TOOLS) build dist *.egg-info traces/runs
