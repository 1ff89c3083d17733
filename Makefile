# What a user types. Every target first makes sure of the environment (`setup`), which takes no time once it is there.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The same pins as c2o_model/determinism.py; the workflow's scripts set them for themselves too.
export PYTHONHASHSEED := 0
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

# `python -m TOOL`, not `.venv/bin/TOOL`: goes on working when the checkout is moved.
RUN := .venv/bin/python -m
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3.11 python3 python3.12 python3.13)
STAMPED := requirements/lock.txt requirements/detectron2.txt pyproject.toml
SUITES := $(sort $(basename $(notdir $(wildcard configs/suites/*.yaml))))
NAME ?= step1_5seed
LEVEL ?= tables
GENERATED := data results logs manifests/results_manifest.tsv .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis site

.PHONY: help setup attest extras mmdet test test-mmdet check docs verify doctor clean $(SUITES)

help: ## this list
	@echo "C2O: make TARGET"
	@awk -F ':.*## ' '/^[a-z_$$()A-Z-]+:.*## / { sub(/\$$\(SUITES\)/, "SUITE", $$1); printf "  %-12s %s\n", $$1, $$2 }' Makefile
	@echo "suites: $(SUITES)"

setup: ## make or update .venv from the hashed locks (PYTHON=… chooses the Python; 5.5 GB, minutes the first time)
	@if [ -x .venv/bin/python ] && [ "$$(cat .venv/c2o.stamp 2>/dev/null)" = "$$(pwd -P; sha256sum $(STAMPED))" ]; then \
		case " $(MAKECMDGOALS) " in *" setup "*) echo "environment ready in .venv (nothing to do)";; esac; \
	else \
		for python in $(CANDIDATES); do \
			if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 7))' >/dev/null 2>&1; then \
				found="$$python"; \
				"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' && break; \
			fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "setup: no Python found (tried $(CANDIDATES)); install Python 3.11 (Debian, Ubuntu: apt-get install python3 python3-venv) or name one: make setup PYTHON=/path/to/python3" >&2; \
			exit 1; \
		fi; \
		env -u PYTHONHASHSEED "$$found" requirements/install.py; \
	fi

$(SUITES): setup ## run configs/suites/SUITE.yaml to a frozen deliverable and verify it
	C2O_TYPED="make $@" $(RUN) c2o_evidence.cli run $@
	$(RUN) c2o_evidence.cli verify deliverables/$@

attest: setup ## the public tools for signatures and RO-Crates, in an environment of their own (130 MB)
	@if [ "$$(cat .venv/attest/c2o.stamp 2>/dev/null)" != "$$( (cd .venv/attest 2>/dev/null && pwd -P); sha256sum requirements/attest.txt)" ]; then \
		rm -rf .venv/attest && .venv/bin/python -m venv .venv/attest && \
		.venv/attest/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/attest.txt && \
		{ (cd .venv/attest && pwd -P); sha256sum requirements/attest.txt; } > .venv/attest/c2o.stamp; \
	fi

extras: setup ## what Diffusers, trackers, Parquet, the documentation site, the notebook and browser tests need, added to .venv (900 MB)
	@if [ "$$(cat .venv/extras.stamp 2>/dev/null)" != "$$(pwd -P; sha256sum requirements/lock.txt requirements/extras.txt)" ]; then \
		$(RUN) pip install --disable-pip-version-check --quiet --require-hashes -r requirements/extras.txt && \
		{ pwd -P; sha256sum requirements/lock.txt requirements/extras.txt; } > .venv/extras.stamp; \
	fi

mmdet: setup ## MMDetection 3, added to .venv (300 MB); builds mmcv the first time (a quarter of an hour with two cores, 2 GB a core)
	@if [ "$$(cat .venv/mmdet.stamp 2>/dev/null)" != "$$(pwd -P; sha256sum requirements/lock.txt requirements/mmdet.txt requirements/mmcv.txt)" ]; then \
		$(RUN) pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements/mmdet.txt && \
		.venv/bin/python requirements/mmcv_wheel.py && \
		{ pwd -P; sha256sum requirements/lock.txt requirements/mmdet.txt requirements/mmcv.txt; } > .venv/mmdet.stamp; \
	fi

test: setup attest extras ## all tests, with a real end-to-end run of the workflow
	.venv/bin/python tests/run.py $(PYTEST_ARGS)

test-mmdet: setup mmdet ## the tests of MMDetection 3, which `make test` leaves out: they need what `make mmdet` installs
	@mkdir -p logs
	$(RUN) pytest --junit-xml=logs/tests-mmdet.xml tests/mmdet $(PYTEST_ARGS)

check: setup ## what CI checks beside the tests: style, types, workflow lint, import arrows
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy --strict c2o_evidence
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint
	$(RUN) pytest -q tests/test_architecture.py

docs: extras ## this project's pages as a web site, in site/ (index.html opens without a server)
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict
	@echo "site/index.html"

verify: setup ## check a frozen deliverable: NAME=step1_5seed LEVEL=files|tables|eval|train
	$(RUN) c2o_evidence.cli verify deliverables/$(NAME) --level $(LEVEL)

doctor: setup ## what is installed, which data sets and optional parts are there, and what to do about the rest
	$(RUN) c2o_evidence.cli doctor

clean: ## list what can be made again; `make clean CONFIRM=1` removes it (never deliverables, never .venv)
	@found=""; for path in $(GENERATED); do [ -e "$$path" ] && found="$$found $$path"; done; \
	if [ -z "$$found" ]; then echo "nothing to remove"; \
	elif [ "$(CONFIRM)" = 1 ]; then echo "removing:$$found"; rm -rf $$found; \
	else echo "would remove:"; du -sh $$found; echo "kept: deliverables/ and .venv/; remove with: make clean CONFIRM=1"; fi
