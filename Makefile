# Needs git, make and Python >= 3.11; everything else is installed into .venv.
#   make chat    talk to the bundled model          make test    the whole suite
#   make check   format, lint, types, floors, sizes, tests
#   make fix     let ruff mend what it can          make size    lines by file      make bench   ratios to others
#   make bench-kernels   on this device      make prove-kernels   mutants of every decoder, every format in every dtype (about an hour)

.PHONY: chat test check format lint types floors fix size bench bench-kernels prove-kernels clean
.DEFAULT_GOAL := chat

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ifeq ($(shell uname -s),Darwin)
EXTRA :=
TEST_EXTRA := [test]
else
EXTRA := [cpu]
TEST_EXTRA := [cpu,test]
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
CODE := localq tui converters kernels_metal tests tools benchmarks

chat: $(VENV)/.installed
	@$(BIN)/localq chat demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2

check: format lint types floors size test

format: $(VENV)/.installed-test
	$(BIN)/ruff format --check $(CODE)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check $(CODE)

types: $(VENV)/.installed-test
	$(BIN)/mypy

floors: $(VENV)/.installed-test
	$(BIN)/lint-imports

size: $(VENV)/.installed-test
	$(BIN)/python tools/size.py

fix: $(VENV)/.installed-test
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/python tools/readme_table.py --write

bench-kernels: $(VENV)/.installed-test
	$(BIN)/python benchmarks/kernels.py

prove-kernels: $(VENV)/.installed-test
	LOCALQ_PROVE=1 $(BIN)/python -m pytest -n 2 tests/metal
	$(BIN)/python -m tools.mutate_kernels

bench: $(VENV)/.installed-test
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "localq needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || true)."; \
		echo "Install one (https://www.python.org) or name it: make PYTHON=/path/to/python3.12"; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "localq needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { \
		echo "Python's venv module is incomplete; on Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml
	@echo "Installing localq into $(VENV) ..."
	@$(PIP) install -e '.$(EXTRA)'
	@touch $@

# llama.cpp is the second engine that answers are compared with. Its wheel is built from source, which takes some
# minutes the first time (pip keeps it); without a C++ compiler those tests skip and say so.
$(VENV)/.installed-test: $(VENV)/.python pyproject.toml
	@echo "Installing localq and its tests into $(VENV) ..."
	@$(PIP) install -e '.$(TEST_EXTRA)'
	@if $(BIN)/python -c 'import llama_cpp' 2>/dev/null; then :; \
	elif command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null; then \
		echo "Building llama-cpp-python, the second engine (minutes, once) ..."; \
		$(PIP) install 'llama-cpp-python>=0.3.36' || echo "It did not build: tests against llama.cpp will skip."; \
	else echo "No C++ compiler: tests against llama.cpp will skip."; fi
	@touch $@ $(VENV)/.installed
