# make demo   a real Triton Inference Server classifies real photographs; no GPU and no container needed
# make test   every test
# make lint   ruff and mypy
# make docs   docs/api.md and docs/commands.md, from the code
# make help   this

# The first Python from 3.10 to 3.12 that runs.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
VENV   ?= .venv
# e.g. PIP_FLAGS="--index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple"
# for the CPU builds of torch and torchvision, which are a tenth of the size
PIP_FLAGS ?=

BIN  := $(abspath $(VENV))/bin
DEMO := .demo/models
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs

help:
	@sed -n '/^# make/s/^# //p' Makefile

demo: $(DEMO)/alexnet/1/manifest.json
	@$(BIN)/python server/demo.py $(DEMO) build/alexnet_build/photographs

$(DEMO)/alexnet/1/manifest.json: build/alexnet_build/demo/alexnet_caltech101.safetensors.xz | $(VENV)/.demo
	@rm -rf $(DEMO)
	@alexnet-build repository --weights demo --engine onnxruntime --output $(DEMO) >/dev/null

test: lint
	@$(BIN)/python -m pytest

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.test
	@$(BIN)/python docs/reference

# What is installed, by extra; test holds all that demo does.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	@echo "installing alexnet-triton[$*] into $(VENV); torch makes this several gigabytes the first time" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python from 3.10 to 3.12 found: install one, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
