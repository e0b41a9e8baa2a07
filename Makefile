# make demo   a real Triton Inference Server classifies real photographs, no GPU and no container needed
# make test   every test
# make lint   ruff and mypy

PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.10,$(shell command -v python$(v) 2>/dev/null)) python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# e.g. PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for the smaller CPU builds of torch
PIP_FLAGS ?=

.PHONY: demo test lint format clean

demo: $(VENV)/.demo
	@PATH="$(abspath $(BIN)):$$PATH" ./docker/demo.sh
