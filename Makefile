# `make help` lists what can be made. Needs Python 3.11 and make; everything else comes into .venv.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := host,sign,bench,dev
MAPPED := schedules targets tuning_logs
TYPED := build/typing
BENCH_FOLDER ?= build/bench
PIP := $(BIN)/python -m pip --disable-pip-version-check
# pip shows its progress to people; into a file or CI's log, only errors.
QUIET := $(if $(MAKE_TERMOUT),,-qq)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench wheel lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install the pinned dependencies

# setuptools is installed first and used as it is, so that the build itself is pinned as well.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	    echo "error: $(PYTHON) is not Python 3.11 with the venv module; install it (Debian: python3.11-venv)"; \
	    echo "       or name one: make PYTHON=/path/to/python3.11"; exit 1; } >&2
	@echo "setting up $(VENV): some minutes the first time, most of them downloads"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(QUIET) -c requirements.lock setuptools
	$(PIP) install $(QUIET) --no-build-isolation -c requirements.lock -e ".[$(EXTRAS)]"
	@touch $@

demo: $(READY) ## tune, compile, classify a photograph, compare with AlexNet
	$(BIN)/python docs/examples/demo.py

# tests/arm runs AArch64 programs under QEMU, which no pip brings. CI fails without it; elsewhere
# those tests are left out aloud.
ifeq ($(CI)$(shell command -v qemu-aarch64),)
WITHOUT_QEMU := --ignore=tests/arm
endif

test: $(READY) ## run the tests, the fast ones first; those that measure time before all others
	$(BIN)/python -m pytest -m alone $(WITHOUT_QEMU)
	$(BIN)/python -m pytest -m "not alone" -n auto --maxprocesses 4 --dist loadfile \
	    --max-worker-restart 0 --no-loadscope-reorder --durations=15 $(WITHOUT_QEMU)
ifdef WITHOUT_QEMU
	@echo "note: tests/arm was left out, as it needs QEMU: sudo sh .ci/install-system-packages.sh"
endif

lint: $(READY) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(TYPED) && mkdir -p $(TYPED)/tvm_shufflenet
	ln -s $(CURDIR)/tvm_shufflenet/* $(addprefix $(CURDIR)/,$(MAPPED)) $(TYPED)/tvm_shufflenet
	cd $(TYPED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml

bench: $(READY) ## measure beside other runtimes (a quiet machine, please)
	PATH="$(CURDIR)/$(BIN):$$PATH" benchmarks/run.sh $(BENCH_FOLDER)

wheel: $(READY) ## build dist/*.whl
	$(PIP) wheel $(QUIET) --no-deps --no-build-isolation --wheel-dir dist .

lock: ## resolve requirements.lock anew, in an environment of its own
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install $(QUIET) setuptools ".[$(EXTRAS)]"
	head -2 requirements.lock > build/new.lock
	build/lock/bin/pip freeze --all --exclude pip --exclude tvm-shufflenet \
	    | sed 's/+cpu$$//' | sort -f >> build/new.lock
	mv build/new.lock requirements.lock

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
