# make demo   install, build the demo atlas and its site, serve it on http://127.0.0.1:8000
# make test   install, run the tests
# make check  what CI checks beside the tests: format, lint, types

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The browser tests drive Debian's Chromium.
CHROMIUM := /usr/bin/chromium

.PHONY: demo test check format clean

demo: $(STAMP)
	$(BIN)/neuron-atlas demo

test: $(STAMP) $(CHROMIUM)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(STAMP)

$(CHROMIUM):
	@command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] || { \
	  echo "The browser tests need chromium: install your system's packages chromium and" \
	       "chromium-driver (Debian: apt-get install chromium chromium-driver)."; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-dejavu-core

clean:
	rm -rf $(VENV) public demo
