# Two commands do all the set-up on a fresh machine: `make book` rebuilds the book, `make test` passes the tests.
.DEFAULT_GOAL := help
.PHONY: help setup book site print lab links test bench clean

VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt
READY := $(VENV)/.ready

help:  ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## */  make \1	/'

setup: $(READY)  ## put the pinned environment into .venv

$(READY): pyproject.toml $(CONSTRAINTS) .ci/system-packages
	@.ci/system-packages python $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off \
		-c $(CONSTRAINTS) -e '.[test]'
	@touch $@

book: $(READY)  ## run what is out of date (on a GPU where there is one) and build the site
	$(BIN)/diffnotes run --build

site: $(READY)  ## build the site from the committed pages; executes nothing
	$(BIN)/diffnotes build --pages committed

print: $(READY)  ## make the PDF and the EPUB from the pages there are
	@.ci/system-packages browser
	@.ci/system-packages print
	$(BIN)/diffnotes build --format pdf
	$(BIN)/diffnotes build --format epub

lab: $(READY)  ## open JupyterLab on working copies of the chapters, CHAPTER=NAME on one
	$(BIN)/diffnotes lab $(CHAPTER)

links: site  ## ask whether the links that lead out of the book answer; the one target that needs the network
	.ci/external-links _build/html

test: $(READY)  ## run all tests
	@.ci/system-packages browser
	@.ci/system-packages sandbox
	$(BIN)/ruff check --quiet .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(READY)  ## measure speed against peers, as ratios
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:  ## remove what runs and builds have made, and the environment; working copies in _build/lab stay
	rm -rf $(VENV)
	[ ! -d _build ] || find _build -mindepth 1 -maxdepth 1 ! -name lab -exec rm -rf {} +
