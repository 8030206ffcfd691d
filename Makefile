PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: install demo test test-full test-minimal test-numpy test-oldest release-check docs check sbom audit format bench bench-all clean

install: $(VENV)/.installed  ## everything the other commands need, in .venv

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install  ## mine and score negatives for Python's own docstrings
	$(BIN)/eci demo --output demo

# A process for each core, which keeps to it: two that share theirs take longer than one after the other.
test: install test-numpy  ## all tests that need neither a hub nor a GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-full:  ## the same, where a test that cannot run here (no Chromium, no ECI_DATA) is a failure
	ECI_FULL=1 $(MAKE) test

# The core and what runs tests; tests of anything else are skipped. For another Python and more, without torch:
#   make test-minimal PYTHON=python3.13 EXTRAS=[chat,datasets,mine,numba,report,test]
# constraints.txt has no versions for Python 3.10: PINS= there.
EXTRAS ?=
PINS ?= --constraint constraints.txt
test-minimal:
	$(PYTHON) -m venv --clear .venv-minimal
	.venv-minimal/bin/python -m pip --disable-pip-version-check install --quiet $(PINS) \
		--editable ".$(EXTRAS)" hypothesis pytest pytest-timeout pytest-xdist
	OMP_NUM_THREADS=1 .venv-minimal/bin/python -m pytest --numprocesses auto --dist loadfile

# The metrics promise to run where nothing but numpy is installed.
test-numpy:
	$(PYTHON) -m venv --clear .venv-numpy
	.venv-numpy/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt numpy
	.venv-numpy/bin/python tests/numpy_only.py

# The oldest versions that pyproject.toml allows: the core on Python 3.10, the extras on $(PYTHON).
OLDEST ?= python3.10
test-oldest:
	$(OLDEST) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint tests/oldest.txt --editable ".[test]"
	.venv-oldest/bin/python -m pytest
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint tests/oldest-extras.txt --editable ".[all,test]"
	.venv-oldest/bin/python -m pytest

release-check:  ## wheel and sdist, each installed alone, with every extra in turn; long
	$(PYTHON) -m venv --clear .venv-release
	.venv-release/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint constraints.txt build hatchling twine
	.venv-release/bin/python tests/release.py

docs: install  ## the site, under build/site; warnings are errors, the tutorial and every code block are run
	$(PIP) install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -q -b html -c docs -d build/doctrees . build/site
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto tests/doc_blocks.py

check: install  ## formatting, lint, types, architecture, links in the documentation
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/mypy tests/typed_client.py
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet tests/test_docs.py

# In an environment of its own, so that the bill lists what eci brings and not what writes the bill.
.venv-audit/.installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip --disable-pip-version-check install --quiet cyclonedx-bom==7.5.0 pip-audit==2.10.1
	touch $@

sbom: install .venv-audit/.installed  ## a CycloneDX bill of what is installed, without a network
	mkdir -p build
	.venv-audit/bin/python .ci/audit.py --of $(BIN)/python --sbom build/sbom.json

audit: install .venv-audit/.installed  ## the same, and what is known of holes; 3 if that could not be asked
	mkdir -p build
	.venv-audit/bin/python .ci/audit.py --of $(BIN)/python --sbom build/sbom.json --advisories

format: install
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

bench: install  ## against peers in the same run: benchmarks/results/bench.md; goes on where it stopped
	$(BIN)/python benchmarks/bench.py

bench-all: bench demo  ## hours: those without a peer too, results under benchmarks/results
	$(BIN)/python benchmarks/intervals.py demo/*.parquet
	$(BIN)/python benchmarks/effects.py demo
	$(BIN)/python benchmarks/convert.py
	$(BIN)/python benchmarks/mine.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/selecting.py
	for part in throughput dependent memory; do $(BIN)/python benchmarks/chat.py $$part; done
	$(BIN)/python benchmarks/audit.py speed --queries 20000 -k 50 --documents 250000
	$(BIN)/python benchmarks/score.py  # this and what follows need ECI_DATA
	$(BIN)/python benchmarks/false_negatives.py scifact
	$(BIN)/python benchmarks/false_negatives.py nfcorpus
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python benchmarks/workers.py --again
	$(BIN)/python benchmarks/audit.py fallback
	$(BIN)/python benchmarks/audit.py planted
	for name in nfcorpus cranfield scifact; do $(BIN)/python benchmarks/audit.py hidden $$name; done
	for damage in known style; do $(BIN)/python benchmarks/contamination.py scifact $$damage; done
	for damage in known hidden style; do $(BIN)/python benchmarks/contamination.py nfcorpus $$damage; done

clean:
	rm -rf $(VENV) .venv-audit .venv-minimal .venv-numpy .venv-oldest .venv-release build demo .mypy_cache .pytest_cache .ruff_cache
