# Two commands do all the set-up a fresh machine needs: `make lab` and `make test`.

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: lab test tour chaos bench notebooks img check zookeeper lab-ready chromium clean help

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

lab: .venv/ready lab-ready  ## Set up, and open the course in JupyterLab
	$(BIN)/labkit lab

tour: .venv/ready lab-ready  ## Set up, and run the experiment in the terminal
	$(BIN)/labkit tour

test: .venv/ready zookeeper chromium check  ## Set up, and pass all tests
	$(BIN)/python -m pytest

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: .venv/ready lab-ready  ## Run every page, top to bottom
	$(BIN)/python -m pytest -q -m "not docker" tests/course/test_run.py

chaos: .venv/ready lab-ready  ## Break things at random for a few minutes, and judge
	for seed in 1 2 3 4 5; do $(BIN)/labkit chaos --seed $$seed --nodes 8 --seconds 30 || exit; done

bench: .venv/ready zookeeper  ## Measure, and compare
	$(BIN)/python -m benchmarks --readme

img: .venv/ready  ## Draw the diagrams again
	$(BIN)/python img/draw.py

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "Python 3.11 or later is needed, and $(PYTHON) is older. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo \
	  "Python's venv module is missing: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[lab,test]'
	touch $@

# A lab runs in Docker if an engine answers, and else on an installed ZooKeeper.
lab-ready: .venv/ready
	@docker info >/dev/null 2>&1 || $(MAKE) --no-print-directory zookeeper

zookeeper: .venv/ready
	@$(BIN)/python -c 'from labkit.servers.zookeeper.install import find_installation; find_installation()' 2>/dev/null \
	|| if command -v apt-get >/dev/null; then \
	  $(SUDO) apt-get update -q && $(SUDO) apt-get install -yq zookeeper libslf4j-java default-jre-headless; \
	elif command -v brew >/dev/null; then brew install zookeeper; \
	else $(BIN)/labkit doctor; exit 1; fi

# The tests look at the pages in a browser.
chromium: .venv/ready
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null \
	|| if command -v apt-get >/dev/null; then $(SUDO) apt-get install -yq chromium; \
	else $(BIN)/python -m playwright install chromium; fi

clean:  ## Remove what set-up and tests have made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis artifacts site markdown build
