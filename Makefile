# make demo: set up, then train a GAN on the embedded digits.    make test: set up, then run all tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check wheel clean

.venv/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/dev: .venv/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/core
	$(BIN)/ganforge train dcgan --data digits --samples 800k --minutes 3.5

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/invariant

# The wheel installs and trains in an empty environment.
wheel: .venv/dev
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist
	$(PYTHON) -m venv --clear build/empty
	build/empty/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd build && rm -rf wheel-run && empty/bin/ganforge train dcgan --data digits --rounds 20 --size 8 --run wheel-run
	cd build && empty/bin/ganforge generate wheel-run -n 4

clean:
	rm -rf build dist .venv
