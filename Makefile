# `make` trains the airline example, `make test` runs the tests, `make test-all` also the exhaustive ones, and `make docs` builds the
# pages. Each sets up .venv first; all it needs is Python 3.11 or newer.
PYTHON ?= python3
RUN = .venv/bin

.PHONY: demo test test-all docs

demo: .venv/ready
	$(RUN)/forecast train configs/airline.yaml

# Two processes share two cores: each computes in one thread, and runs whole files, whose tests share trained runs.
test: .venv/ready-dev
	$(RUN)/python -m ruff check .
	$(RUN)/python -m mypy
	TF_NUM_INTRAOP_THREADS=1 $(RUN)/python -m pytest -m "not exhaustive" --numprocesses 2 --dist loadfile
	KERAS_BACKEND=jax $(RUN)/python -m pytest -m "backend and not exhaustive" --numprocesses 2

test-all: .venv/ready-dev
	$(RUN)/python -m ruff check .
	$(RUN)/python -m mypy
	TF_NUM_INTRAOP_THREADS=1 FUZZ_EXAMPLES=1000 $(RUN)/python -m pytest --numprocesses 2 --dist loadfile
	KERAS_BACKEND=jax $(RUN)/python -m pytest -m backend

docs: .venv/ready-dev
	$(RUN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

.venv/ready: pyproject.toml constraints.txt constraints-predict.txt
	$(PYTHON) -m venv .venv
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/ready-dev: .venv/ready
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
