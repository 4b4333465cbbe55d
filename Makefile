# Each target makes or completes .venv first; a second call finds its stamps and starts at once.
# `make demo` in a fresh clone needs Python 3.10+, a C++ compiler for the native kernels, and nothing else.

# Makes .venv, once: remove .venv to change it.
PYTHON ?= python3
# Installed first, as everything is compiled against it. For a GPU: make TORCH='torch==2.13.0 --index-url ...'
TORCH ?= torch==2.13.0

VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py nas_domains/version.py $(wildcard csrc/*.* csrc/*/*.*)
SANITIZED := build/sanitize
# Named after what was asked for, so that another TORCH is seen and everything compiled against it.
TORCH_STAMP := $(VENV)/.stamp-torch-$(firstword $(shell printf %s "$(TORCH)" | cksum))

# torch compiles its extensions in parallel where it finds ninja.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: demo test test-slow lint sanitize bench clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The pip of an old Python does not know `pip --python`, which the tests use.
$(TORCH_STAMP): | $(BIN)/python
	$(BIN)/python -m pip install "pip>=22.3"
	$(BIN)/pip install $(TORCH)
	rm -f $(VENV)/.stamp-*
	touch $@

# torch is left out of the build requirements (see pyproject.toml), so those are installed here.
$(VENV)/.stamp-core: $(SOURCES) $(TORCH_STAMP)
	$(BIN)/pip install "setuptools>=77" "pybind11>=2.13" ninja
	$(BIN)/pip install --no-build-isolation -e .
	touch $@

# nas_domains is installed already, so this adds the extras without building it again.
$(VENV)/.stamp-all: $(VENV)/.stamp-core
	$(BIN)/pip install "nas_domains[dev]"
	touch $@

demo: $(VENV)/.stamp-core
	@if [ -e runs/demo/config.yaml ]; then \
	  $(BIN)/nas-domains resume runs/demo; \
	else \
	  $(BIN)/nas-domains search --data digits --space darts:cells=2,channels=8 --strategy darts \
	    --budget 60s --train-budget 20s --seed 1 --out runs/demo; \
	fi

# A process for each core: each test runs on one thread.
test: $(VENV)/.stamp-all
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

test-slow: $(VENV)/.stamp-all
	$(BIN)/pytest -n auto --dist worksteal -m slow

lint: $(VENV)/.stamp-all
	$(BIN)/pre-commit run --all-files

# The op and sampler tests once more, on a copy of the package built with the address and
# undefined-behaviour sanitizers. A finding ends the process, and so fails the target; --capture=sys
# leaves its report to be seen. libstdc++ is loaded first as well, or the first C++ exception would end
# the process too. Leaks are not looked for, as Python and torch keep much until the end: a test of
# tests/ops watches the memory instead. The compile tests and those of the PyTorch reference add
# nothing of ours but minutes.
sanitize: $(VENV)/.stamp-all
	@command -v gcc > /dev/null || \
	  { echo "make sanitize needs gcc, whose sanitizers it loads; install gcc." >&2; exit 1; }
	rm -rf $(SANITIZED)/lib
	NAS_DOMAINS_BUILD=cpu NAS_DOMAINS_SANITIZE=1 $(BIN)/python setup.py --quiet \
	  build --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/tmp
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	PYTHONPATH=$(SANITIZED)/lib NAS_DOMAINS_TESTED_COPY=$(abspath $(SANITIZED)/lib) \
	$(BIN)/pytest -n auto --dist worksteal --import-mode=importlib --capture=sys -m "not slow" \
	  -k "not compile and not reference" \
	  tests/ops tests/sampler

bench: $(VENV)/.stamp-all
	$(BIN)/python -m nas_domains.bench

clean:
	rm -rf build dist *.egg-info nas_domains/*.so compile_commands.json $(VENV)/.stamp-*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
