# make demo  sets everything up and runs the main job
# make test  sets everything up and runs all checks and tests
# make docs  builds the documentation into site/
# A second run does not install again unless pyproject.toml or constraints.txt changed.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.docs-installed

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test lint test-core test-gui test-staged install system-libraries docs clean

demo: install
	$(BIN)/napari-camelyon demo

# The window tests leave a core idle, which generates the patients to be staged meanwhile.
test: lint test-core
	$(MAKE) -j2 test-gui test-staged

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Windows under one screen disturb each other, so what shows napari runs alone. The tests of a file
# stay in one process: some share what takes a minute to generate. Each process keeps to one thread:
# with more of them than cores torch takes several times as long.
test-core: export OMP_NUM_THREADS := 1
test-core: install
	$(BIN)/python -m pytest -m "not gui and not staged" -n 2 --dist loadfile

test-gui: install
	$(BIN)/python -m pytest -m gui

test-staged: install
	$(BIN)/python -m pytest -m staged

# The reference is made from the source text, so this installs neither torch nor Qt.
docs: $(DOCS_INSTALLED)
	$(BIN)/zensical build --clean --strict

install: system-libraries $(INSTALLED)

system-libraries:
	@sh scripts/system-libraries.sh $(PYTHON)

$(INSTALLED): pyproject.toml constraints.txt
	$(make_venv)
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable ".[dask,fast-cpu,learn,onnx,pdf,timm]" --group dev
	@touch $@

$(DOCS_INSTALLED): pyproject.toml constraints.txt
	$(make_venv)
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --group docs
	@touch $@

define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "napari-camelyon needs Python 3.11 or newer; run make PYTHON=/path/to/python3")'
@test -e $(BIN)/python || test -e $(BIN)/python.exe || $(PYTHON) -m venv $(VENV)
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
endef

clean:
	rm -rf $(VENV) demo-output site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
