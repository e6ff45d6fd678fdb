# make app        the workbench at http://127.0.0.1:7860 on the embedded models
# make lab        JupyterLab on the notebooks, in the right environment
# make notebooks  executes all notebooks with full settings and writes their outputs (needs Chromium for the pictures of figures)
# make check      format, lint, spelling and types, then the tests that need neither browser nor processes: 3 minutes
# make test       the whole suite, on as many workers as there are cores; installs Chromium and PostgreSQL if it can,
#                 else leaves their tests out and says so. On a slow machine: make test TEST_TIMEOUT_SCALE=5
# make docs       the documentation as a site in docs/_build/html, offline; any warning fails
# make results    docs/results.md and the README's table, from results/*.json
#
# TORCH and TORCH_INDEX choose the torch build, on the first install only:
#   make app                                                           torch from PyPI (CUDA on Linux, small on macOS)
#   make app TORCH_INDEX=https://download.pytorch.org/whl/cpu          CPU build on Linux
#   make app TORCH="torch torchvision"                                 with torchvision, for metrics that want it
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_TESTS = $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup --no-loadscope-reorder $(PYTEST)

# Arguments of pytest, and how many workers it has
PYTEST ?=
PYTEST_WORKERS ?= $(shell $(PYTHON) -c "import os; print(min(os.cpu_count() or 1, 8))")

.PHONY: app lab notebooks docs results check tools test clean

app: $(VENV)/.installed
	$(BIN)/python app.py

lab: $(VENV)/.installed
	$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements
	$(BIN)/python -m jupyterlab --notebook-dir notebooks

notebooks: $(VENV)/.installed-test
	$(BIN)/python -m workbench.lab.execute notebooks/*.py

check: tools
	$(RUN_TESTS) -m "not slow and not browser and not processes"

tools: $(VENV)/.installed-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/typos
	$(BIN)/basedpyright

docs: $(VENV)/.installed-docs
	$(BIN)/python docs/make_results.py --check
	$(BIN)/python -m sphinx -W --keep-going -n -q docs docs/_build/html

results: $(VENV)/.installed
	$(BIN)/python docs/make_results.py

test: $(VENV)/.installed-test
	$(BIN)/python -m tests.support.setup
	$(RUN_TESTS)

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[test,check,docs]"
	touch $(VENV)/.installed $@

$(VENV)/.installed-docs: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV)
