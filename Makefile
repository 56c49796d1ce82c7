PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CAN_RUN := $(VENV)/can-run
CAN_TEST := $(VENV)/can-test
CAN_LINT := $(VENV)/can-lint
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
TORCH := torch==2.13.0+cpu
TORCH_ON_CPU := https://download.pytorch.org/whl/cpu
TOOLS := .tools

.PHONY: run test test-all test-tools torch exact lint fidelity site clean

run: $(CAN_RUN)  ## the main job on the built-in example: Llama-70B Galaxy prefill, 8k tokens, ring of 4
	$(BIN)/tensix-sim run

test: $(CAN_TEST)  ## all that is not marked slow
	$(PYTEST) -m "not slow"

test-all: $(CAN_TEST) torch test-tools  ## the rest: what is slow, against torch where there is one, and with others' tools
	$(PYTEST) -m slow

lint: $(CAN_TEST) $(CAN_LINT)  ## the package's pytest plugin is typed too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(CAN_RUN): pyproject.toml
	@echo "setting up $(VENV), a minute" >&2
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(CAN_TEST): $(CAN_RUN)
	$(PIP) -e '.[test]'
	touch $@

$(CAN_LINT): $(CAN_RUN)
	$(PIP) -e '.[lint]'
	touch $@

torch: $(CAN_TEST)  ## the build without CUDA, which is gigabytes smaller, from its index or a local one; else some tests are skipped
	@$(BIN)/python -c "import torch" 2>/dev/null \
	|| $(PIP) --retries 0 --extra-index-url $(TORCH_ON_CPU) '$(TORCH)' 2>/dev/null \
	|| echo "no torch: no index has $(TORCH); tests against torch are skipped" >&2

test-tools: $(CAN_TEST)  ## tt-perf-report and ttnn-visualizer as released, on emitted files, and tt-symbiote; each in its own environment
	$(PYTHON) -m venv $(TOOLS)/perf-report
	$(TOOLS)/perf-report/bin/pip install --quiet --disable-pip-version-check 'tt-perf-report==1.4.1'
	$(PYTHON) -m venv $(TOOLS)/visualizer
	$(TOOLS)/visualizer/bin/pip install --quiet --disable-pip-version-check 'ttnn-visualizer==0.108.0'
	$(PYTHON) -m venv $(TOOLS)/symbiote
	$(TOOLS)/symbiote/bin/pip install --quiet --disable-pip-version-check -e . 'tt-symbiote==0.1.6' '$(TORCH)' \
	|| $(TOOLS)/symbiote/bin/pip install --quiet --disable-pip-version-check -e . 'tt-symbiote==0.1.6'
	TENSIX_SIM_TOOLS=$(abspath $(TOOLS)) $(BIN)/python -m pytest tests/test_emit_tools.py tests/test_symbiote.py tests/test_script.py

exact: $(CAN_TEST)  ## the compiled arithmetic against its specification, a million operands an operation; takes minutes
	TENSIX_SIM_OPERANDS=1000000 $(PYTEST) tests/test_exact.py

fidelity: $(CAN_TEST)  ## docs/fidelity.md: published walls beside their predictions; takes minutes
	$(PIP) -e '.[plot]'
	$(BIN)/python benchmarks/fidelity.py

site: $(CAN_TEST)  ## the manual as a website, in site/
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(TOOLS) site build dist *.egg-info traces/runs
