# From a clean clone: `make demo` and `make test`. Everything is installed into .venv.
# PYTHON picks the Python to make it with, JOBS the number of test processes.

PYTHON ?= python3
JOBS ?= 2
EXTRAS ?= rtl,gpu,hls,test,docs,dev

VENV := .venv
BIN := $(VENV)/bin
# A new key, hence a new installation, whenever a dependency or the choice of extras changes.
KEY := $(shell (cat pyproject.toml constraints.txt; echo '$(EXTRAS)') | cksum | tr -dc '0-9')
READY := $(VENV)/ready-$(KEY)

# One thread for each process: the machine's cores go to JOBS, and timings mean something.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help demo test test-all test-gpu bench-gpu docs lint format install clean clean-all

help:
	@echo "make demo      a trained model to a bitstream, with a report, in out/demo"
	@echo "make test      the tests, without those that take minutes"
	@echo "make test-all  all tests"
	@echo "make test-gpu  all GPU tests, counted in benchmarks/results/gpu-DEVICE.json"
	@echo "make bench-gpu the emulator on the GPU beside the CPU, in the same file"
	@echo "make docs      the documentation site, in out/docs"
	@echo "make mutate    100 small faults in the numeric core: how many do the tests notice?"
	@echo "make lint      ruff and mypy"
	@echo "make install   only the installation that the others need"
	@echo "make clean     what the commands above wrote (clean-all: .venv too)"

demo: $(READY)
	$(BIN)/python examples/demo.py --out out/demo

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(PYTEST_ARGS)

test-all: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

# A PYTHON that has all that these need is taken as it is, without a network; else the environment.
test-gpu:
	@scripts/on-gpu '$(PYTHON)' '$(MAKE)' tests $(GPU_ARGS)

bench-gpu:
	@scripts/on-gpu '$(PYTHON)' '$(MAKE)' speed $(GPU_ARGS)

# The theme prints a notice about a later mkdocs, which would hide what is wrong with the pages.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(READY)
	$(BIN)/mkdocs build --quiet --strict
	@echo "the documentation is out/docs/index.html"

mutate: $(READY)
	@$(BIN)/python -c 'import cosmic_ray' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --constraint constraints.txt --editable '.[mutate]'
	$(BIN)/python scripts/mutate --jobs $(JOBS) $(MUTATE_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(READY)

$(READY):
	@scripts/check-system '$(PYTHON)'
	@test -x $(BIN)/python || '$(PYTHON)' -m venv $(VENV)
	@echo "installing hwsim[$(EXTRAS)] into $(VENV) (1 to 3 minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$(EXTRAS)]'
	@rm -f $(VENV)/ready-*
	@touch $@

clean:
	rm -rf out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-all: clean
	rm -rf $(VENV)
