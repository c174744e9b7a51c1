# `make verify` and `make test` each set up .venv by themselves; a rerun of the set-up costs nothing.
PYTHON ?= python3
WORKERS ?= auto
# what is installed of pyproject.toml's extras: docs has dev and what the site takes besides
EXTRA ?= dev
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-$(shell $(PYTHON) -c "import hashlib, sys; print(hashlib.sha256(open('pyproject.toml', 'rb').read() + sys.version.encode()).hexdigest()[:16])")
# quick takes two minutes or so of two cores, full eight times the cases; a tournament in full, hours
PROFILE ?= quick
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

# what a process compiles, the next one reads: hundreds of them start here
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup verify test test-full notebooks pages figures report lint wheel bench tournament
.PHONY: docs docs-setup mutants proofs galaxies shuffled floors audit times clean
.DEFAULT_GOAL := verify

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'steinlab needs Python 3.11 or newer, got ' + sys.version.split()[0])"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# a torch wheel at hand (a CPU build, say) is preferred to several GB from the index
	@# what is imported is compiled then, as it is needed; all of it would take a minute or two
	$(BIN)/python -m pip install --quiet --no-compile --no-index --no-deps "torch>=2.9" 2>/dev/null || true
	$(BIN)/python -m pip install --quiet --no-compile -e ".[$(EXTRA)]"
	@rm -f $(VENV)/.stamp-*
	@touch $@ $(if $(filter docs,$(EXTRA)),$@-docs)

docs-setup: $(STAMP)-docs

$(STAMP)-docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile -e ".[docs]"
	@touch $@

verify: setup
	$(BIN)/steinlab verify --profile $(PROFILE) --json ledger.json --expect claims

# these run in an order of their own each time; the line that make prints says the seed
SHUFFLE ?= $(shell date +%j%H%M)
SHUFFLED := analytic tests/analytic/test_mixtures.py tests/faults tests/steinlab/corrections \
  tests/steinlab/test_storage.py

# neighbours share fixtures and imports: worksteal leaves them to one worker
test: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow" --benchmark-disable \
	  --shuffle $(SHUFFLE) $(SHUFFLED:%=--only %)

# those alone, in one process
shuffled: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -q -m "not slow" --benchmark-disable --shuffle $(SHUFFLE) $(SHUFFLED)

# every dependency at the lowest version that pyproject.toml admits
floors:
	PYTHON=$(PYTHON) .ci/floors

# advisories and licences of what is installed here
audit: setup
	PYTHON=$(PYTHON) .ci/audit

test-full: setup
	$(ONE_THREAD) HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --benchmark-disable

# runs them; what is committed, plots included, stays (steinlab notebooks renews it)
notebooks: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) --nbmake --nbmake-timeout 120 notebooks

# the pages and the README's blocks, after the stored study has grown or a claim changed;
# what does not depend on it is judged once and kept in out/pages
pages: setup
	$(BIN)/steinlab verify --profile $(PROFILE) --json ledger.json --out out/pages
	$(BIN)/steinlab pages ledger.json

figures: setup
	$(BIN)/steinlab figures --out out/figures $(if $(wildcard ledger.json),--ledger ledger.json)

report: figures
	test -f ledger.json || $(BIN)/steinlab verify --json ledger.json
	$(BIN)/steinlab report --ledger ledger.json --figures out/figures --out out/report

# the site, to be opened without a server: out/site/index.html; after `make figures` with all figures,
# else with the claims' own, of ledger.json
docs: docs-setup
	test -f ledger.json || $(BIN)/steinlab verify --profile $(PROFILE) --json ledger.json
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file .ci/site/mkdocs.yml
	$(BIN)/python .ci/site/check.py out/site

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: setup
	sh .ci/wheel

bench: setup
	$(BIN)/python -m pytest -q tests/bench --benchmark-only --benchmark-disable-gc

# what commands take, beside what they may; NAMES are calls import help stranger ledger-2 ledger-8
# suite, by default all, a quarter of an hour of two cores; then `steinlab pages ledger.json --only speed.md`
times: setup
	$(BIN)/python -m steinlab.report.pages.scaling docs/results/overhead.json $(NAMES)

# either profile resumes where it stopped
tournament: setup
	mkdir -p out
	$(BIN)/steinlab tournament --profile $(PROFILE) --out out/tournament-$(PROFILE)

# resumes where it stopped; docs/mutants.md says what it does and what it found
mutants: setup
	$(BIN)/python -m pip install --quiet -e ".[mutants]"
	$(BIN)/python .ci/mutants/run.py
	$(BIN)/python .ci/mutants/page.py out/mutants/record.json

# resumes where it stopped; writes the table of docs/prove-your-bound.md
proofs: setup
	$(BIN)/python .ci/proofs/record.py --workers 0

# pretrained networks of galaxies; without its dependencies, which would bring JAX
galaxies: setup
	$(BIN)/python -m pip install --quiet --no-deps galaxygrad==0.2.1

clean:
	rm -rf $(VENV) build dist out
