# Everything runs in .venv, which is made when it is needed. PYTHON is the interpreter it is made with (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check format soak bench clean
help:
	@echo "make demo    install, then find the nodes that matter in examples/order_desk, on a real model"
	@echo "make test    install, then run the tests"
	@echo "make check   format, lint, types and layers"
	@echo "make soak    the long forms of the tests"
	@echo "make bench   the benchmarks, as Markdown"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.user
	@echo "This is what you would type:"
	@echo "    pip install 'sherlock-langgraph[local]'      (here: from this folder)"
	@echo "    sherlock analyze examples/order_desk/graph.py:graph --cases examples/order_desk/demo.jsonl \\"
	@echo "        --scorer examples/order_desk/scorers.py:strict --model local --recordings .sherlock/recordings \\"
	@echo "        --output analysis.json --markdown analysis.md"
	@echo
	$(BIN)/sherlock analyze examples/order_desk/graph.py:graph --cases examples/order_desk/demo.jsonl \
		--scorer examples/order_desk/scorers.py:strict --model local --recordings .sherlock/recordings \
		--output analysis.json --markdown analysis.md

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(VENV)/.dev
	SHERLOCK_SOAK=1 $(BIN)/python -m pytest -m soak

bench: $(VENV)/.dev
	@for each in $$(grep -l __main__ benchmarks/*.py); do echo "## $$each"; $(BIN)/python $$each || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
