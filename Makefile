# demo and test set up .venv by themselves; everything else is explained in README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo serve page test test-all coverage lint bench docs clean

demo: $(VENV)/installed page
	$(BIN)/condyle demo --out demo

serve: $(VENV)/installed page
	$(BIN)/condyle serve --roots .

# What the page takes from others, where Node is installed; without it, the server draws slices.
VENDOR := src/condyle/app/web/static/vendor
page:
	@command -v npm > /dev/null && $(MAKE) -s $(VENDOR)/niivue.js || \
		echo "no Node here: the page will show slices that the server draws"

$(VENDOR)/niivue.js: package-lock.json
	npm ci --silent
	$(PYTHON) vendor.py

# A file a worker, a thread each: most tests are too small to use several.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q --numprocesses auto --dist loadfile

# As this machine computes; then what depends on it in the other of float32 and bfloat16.
test: $(VENV)/developer page
	$(PYTEST)
	$(PYTEST) -m "precision and not slow" --precision other

test-all: $(VENV)/developer
	$(PYTEST) -m "slow or not slow"

# Of all tests, the slow ones and those in the other precision too: the table by module, worst first;
# in coverage/index.html line by line. Fails under nothing for now.
coverage: $(VENV)/developer
	$(PYTEST) -m "slow or not slow" --cov --cov-report=
	$(PYTEST) -m precision --precision other --cov --cov-append --cov-report=term --cov-report=html:coverage

lint: $(VENV)/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: $(VENV)/developer
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(VENV)/documenter
	$(BIN)/sphinx-build -q -W docs docs/_build

# A stamp a kind of set-up; each is made anew when pyproject.toml changes.
$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade "pip>=25.1"

$(VENV)/installed: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install -q -e .
	@touch $@

$(VENV)/developer: $(VENV)/installed
	$(BIN)/pip install -q --group dev
	@touch $@

$(VENV)/documenter: $(VENV)/installed
	$(BIN)/pip install -q --group docs
	@touch $@

clean:
	rm -rf demo docs/_build coverage .coverage .pytest_cache .ruff_cache
