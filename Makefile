# make demo    the income example, from training to explanations
# make serve   keeps the example's server up
# make test    the whole test suite; PYTEST=tests/test_x.py is a part of it
# make check   lint, format, types, plain English and the documentation
# make docs    the documentation site, in site/index.html
# make dist    the wheel and the sdist, in dist/
# make image   the server image; IMAGE_EXTRAS=explain has alibi in it, BASE=IMAGE what it starts from
# PYTHON=python3.12 chooses the Python; VENV=.venv where the virtual environment goes

VENV ?= .venv
BIN := $(VENV)/bin
BASE ?= python:3.11-slim
export BASE
# Without its advertisement of a successor.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
# Without bytecode files each of the many processes compiles all it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve test check docs dist format image clean

demo: $(VENV)/.demo
	$(BIN)/python examples/income/demo.py $(DEMO)

serve: $(VENV)/.demo
	$(BIN)/python examples/income/demo.py --keep

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=40 --durations-min=5 \
		--cov --cov-report=term $(if $(PYTEST),--cov-fail-under=0 $(PYTEST))

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/english.py
	$(MKDOCS)

docs: $(VENV)/.dev
	$(MKDOCS)

dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	$(BIN)/twine check --strict dist/*

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image:
	EXTRAS="$(IMAGE_EXTRAS)" images/server/build.sh

$(VENV)/.demo: setup.cfg pyproject.toml scripts/venv.sh
	scripts/venv.sh $(VENV) '.[demo]'
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml scripts/venv.sh
	scripts/venv.sh $(VENV) '.[demo,test,check,docs]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
