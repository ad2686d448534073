# Every target sets itself up in .venv: a machine with Python 3.11 or newer and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -P
READY := $(VENV)/.acetate-ready
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: help demo ui test check fix train clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    take three pictures apart, generate a fourth; results in out/"
	@echo "make ui      the studio in the browser (UI_ARGS='--port 8000' and others of acetate ui)"
	@echo "make test    the whole test suite (PYTEST_ARGS='-k word' narrows it)"
	@echo "make check   lint, types, import layering, documentation blocks, the house's limits"
	@echo "make fix     let ruff repair what it can and rewrite the generated documentation blocks"
	@echo "make train   train the embedded model anew: DEVICE=cuda VAE_MINUTES=2 MINUTES=9 (docs/training.md)"
	@echo "make clean   remove results and caches, keep .venv"

# torch first and alone, at the pinned version: with it in place nothing else may pull another build of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "acetate needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (make PYTHON=python3.12 names another)")'
	@test -x $(BIN)/python || { echo "setting up $(VENV) (once, some minutes)"; $(PYTHON) -m venv $(VENV); }
	@$(PIP) torch
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: $(READY)
	@$(RUN) scripts/demo.py

ui: $(READY)
	@$(BIN)/python -P -c 'import gradio' 2>/dev/null || $(PIP) --editable '.[ui]'
	@$(RUN) -m acetate ui $(UI_ARGS)

test: $(READY)
	@$(RUN) -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

check: $(READY)
	@$(RUN) scripts/check.py

fix: $(READY)
	@$(RUN) -m ruff check --fix .
	@$(RUN) scripts/check_docs.py --write

# Codec, transformer, then a folder like weights/ in runs/embedded: goes on where it was stopped.
DEVICE ?= cuda
VAE_MINUTES ?= 2
MINUTES ?= 9
RESOLUTION ?= $(if $(filter cuda,$(DEVICE)),256,128)
train: $(READY)
	@$(RUN) scripts/train_vae.py --device $(DEVICE) --minutes $(VAE_MINUTES) --out runs/embedded/codec
	@$(RUN) scripts/train_layers.py --device $(DEVICE) --minutes $(MINUTES) --vae runs/embedded/codec/vae --out runs/embedded/layers
	@$(RUN) scripts/assemble_weights.py --vae runs/embedded/codec/vae --layers runs/embedded/layers --resolution $(RESOLUTION) --out runs/embedded/weights

clean:
	rm -rf out build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache *.egg-info
