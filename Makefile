# `make` trains the airline example, `make test` runs every test. Both set up .venv first; all they need is Python 3.11 or newer.
PYTHON ?= python3
RUN = .venv/bin

.PHONY: demo test

demo: .venv/ready
	$(RUN)/forecast train configs/airline.yaml

test: .venv/ready-dev
	$(RUN)/python -m ruff check .
	$(RUN)/python -m pytest
	KERAS_BACKEND=jax $(RUN)/python -m pytest -m backend

.venv/ready: pyproject.toml constraints.txt constraints-predict.txt
	$(PYTHON) -m venv .venv
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	touch $@

.venv/ready-dev: .venv/ready
	$(RUN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
