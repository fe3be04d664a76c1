# Everything a developer types. Needs Python >= 3.11 with venv and headers, a C compiler, make.
# Written for GNU make 3.81, which macOS has.

VENV ?= .venv
PORT ?= 8888
TIME ?= 60
REQUESTS ?= 5000000
MINUTES ?= 2
ARGS ?=
# Three processes for two cores; who is done takes tests from the others. PARALLEL= or
# ARGS='-n 0 ...' runs them in one, as a debugger wants it.
PARALLEL ?= -n auto --dist worksteal
# What takes seconds each is for CI, where CI is set: `make test CI=1`, or .ci/run, runs all.
CI ?=
SELECT ?= $(if $(CI),,-m 'not slow')
export CI
# The plain name first: it is what the user chose. PYTHON=... overrides.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
CYTHON_SOURCES := $(wildcard src/fasthttpserver/*.pyx src/fasthttpserver/*/*.pxd)

.PHONY: help run test test-frameworks conformance conformance-apps build lint annotate dist
.PHONY: sanitize fuzz soak clean distclean
.PHONY: bench bench-quick bench-parser bench-render bench-guard bench-operations wheel docs
.DELETE_ON_ERROR:

help:
	@echo 'make run       serve a first page on http://localhost:$(PORT)/ (PORT=...)'
	@echo 'make test      run the tests, but for those that take seconds each (CI=1: all; ARGS=... goes to pytest)'
	@echo 'make test-frameworks  install Django, Quart and Litestar, and run applications of them'
	@echo 'make conformance  run the tests of Tornado 6.6.1, and on Python 3.11 of 3.2.2, against it'
	@echo '               conformance-apps: the tests of programs that stand on Tornado 6, as Jupyter'
	@echo 'make build     compile the extension after an edit'
	@echo 'make lint      ruff, mypy --strict, pyright, stubtest, cython-lint'
	@echo 'make annotate  write build/_parser.html, which shows where C calls Python'
	@echo 'make sanitize  test the parser with address and undefined-behaviour sanitizers'
	@echo 'make coverage  say which lines of Python and Cython no test runs; build/coverage/htmlcov/'
	@echo 'make fuzz      look for faults for TIME seconds ($(TIME)); INPUT=... runs one file again'
	@echo 'make soak      serve REQUESTS requests ($(REQUESTS)), good and bad, and watch the memory;'
	@echo '               run random clients for MINUTES ($(MINUTES)), and compare every answer'
	@echo 'make docs      build the documentation in build/docs/, warnings are errors'
	@echo 'make dist      build the sdist, and the wheel from that sdist, without a network'
	@echo 'make wheel     build, check and test a wheel for each Python here (ARGS=... goes to pytest)'
	@echo 'make bench     measure everything beside its peers, 25 minutes; benchmarks/README.md has more:'
	@echo '               bench-quick, bench-parser, bench-pythons, bench-guard, bench-render (ARGS=...)'
	@echo 'make bench-operations  restarts, mistakes, hung and killed processes, beside other servers'
	@echo 'make clean     remove what was built; distclean: the environment and llhttp too'
	@echo 'The environment is $(VENV)/ (VENV=...), made by the first suitable Python (PYTHON=...).'

run: build
	@$(BIN)/python -m fasthttpserver --port $(PORT)

# Tests start hundreds of interpreters, each of which would compile all modules where this is set.
test: export PYTHONDONTWRITEBYTECODE :=
test: build $(VENV)/test.stamp $(VENV)/peers.stamp
	$(BIN)/python -m pytest $(PARALLEL) $(SELECT) $(ARGS)

test-frameworks: build $(VENV)/frameworks.stamp
	$(BIN)/python -m pytest tests/asgi/test_frameworks.py tests/project/test_examples.py \
		tests/project/test_docs_programs.py -k 'django or test_frameworks' $(ARGS)

conformance: build $(VENV)/test.stamp
	$(BIN)/python conformance/run.py

# Not a part of it: it downloads much, and takes half an hour. ARGS='--only flower', for instance.
conformance-apps: build
	$(BIN)/python conformance/apps/run.py $(ARGS)

build: $(VENV)/build.stamp

lint: build $(VENV)/lint.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@# By itself: its wire.py and run.py are others than those of tests/ and fuzz/.
	MYPYPATH=conformance $(BIN)/mypy conformance
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m mypy.stubtest fasthttpserver._parser --allowlist tests/stubtest_allowlist.txt
	@# It looks for pycodestyle, which comes with it, in PATH.
	PATH="$(abspath $(BIN)):$$PATH" cython-lint $(CYTHON_SOURCES)

annotate: build
	@mkdir -p build
	$(BIN)/cython --annotate --include-dir src --output-file build/_parser.c src/fasthttpserver/_parser.pyx

# The developer's own build stays as it is: these make their own under build/.
sanitize: build $(VENV)/test.stamp $(VENV)/peers.stamp
	$(BIN)/python fuzz/sanitize.py $(ARGS)

# In an environment of its own too, since what is installed there traces its lines.
COVERAGE_VENV ?= .venv-coverage

.PHONY: coverage
coverage:
	@$(MAKE) --no-print-directory VENV=$(COVERAGE_VENV) $(COVERAGE_VENV)/coverage.stamp
	$(COVERAGE_VENV)/bin/python .ci/cover.py $(ARGS)

fuzz: build $(VENV)/test.stamp $(VENV)/peers.stamp
	$(BIN)/python fuzz/run.py --time $(TIME) $(if $(INPUT),--input $(INPUT))

soak: build $(VENV)/test.stamp
	$(BIN)/python fuzz/soak.py --requests $(REQUESTS)
	$(BIN)/python fuzz/exchanges.py --minutes $(MINUTES)

# pip finds nothing, so a build that wanted to fetch would fail.
dist: build $(VENV)/dist.stamp
	rm -rf dist
	PIP_NO_INDEX=1 $(BIN)/python -m build --no-isolation

# sdist -> wheels as released, each tested as installed in an environment of its own.
wheel: $(VENV)/wheel.stamp
	rm -rf dist
	$(BIN)/python -m build --no-isolation --sdist
	$(BIN)/python .ci/wheel.py --out dist dist/*.tar.gz -- $(ARGS)

# -n: a reference that leads nowhere is a warning. -a -E: no page left from an earlier run.
# html: its pages link to each other as files, too, without a server.
docs: build $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -b html -n -W --keep-going -a -E -q -d build/doctrees docs build/docs
	@echo 'file://$(abspath build/docs/index.html)'

# The benchmarks have an environment of their own: their peers are many.
BENCH_VENV ?= .venv-bench
# The one of the system first: distributions build it with PGO and LTO, and users have it.
BENCH_PYTHON ?= /usr/bin/python3 $(PYTHON)
# Where figures are compared between Pythons; each has an environment of its own.
BENCH_PYTHONS ?= /usr/bin/python3 python3.11 python3.12 python3.13 python3.14
BENCH_RUN := $(BENCH_VENV)/bin/python

.PHONY: bench-environment bench-environment-python bench-pythons
bench-environment:
	@$(MAKE) --no-print-directory VENV=$(BENCH_VENV) PYTHON='$(BENCH_PYTHON)' bench-environment-python
	@$(MAKE) --no-print-directory VENV=$(BENCH_VENV) PYTHON='$(BENCH_PYTHON)' build $(BENCH_VENV)/bench.stamp
	@$(BENCH_RUN) -m benchmarks.install

# An environment stays while its Python works, which may be another one than what is asked for.
bench-environment-python:
	@python=$$($(FIND_PYTHON)) || exit 1; real='import os, sys; print(os.path.realpath(sys.executable))'; \
	if test -e $(VENV) && test "$$($(BIN)/python -c "$$real" 2>&1)" != "$$("$$python" -c "$$real")"; then \
		echo "$(VENV) is of another Python and is made again"; rm -rf $(VENV); \
	fi

bench: bench-environment
	$(BENCH_RUN) -m benchmarks.bench_server $(ARGS)
	$(BENCH_RUN) -m benchmarks.bench_parser
	$(BENCH_RUN) -m benchmarks.render

# Less than two minutes; prints what it measured and leaves the published results alone.
bench-quick: bench-environment
	@rm -rf build/bench-quick
	$(BENCH_RUN) -m benchmarks.bench_server --quick --output build/bench-quick $(ARGS)
	$(BENCH_RUN) -m benchmarks.bench_parser --quick --output build/bench-quick
	@$(BENCH_RUN) -m benchmarks.render --text --results build/bench-quick

bench-parser: bench-environment
	$(BENCH_RUN) -m benchmarks.bench_parser --output build/bench-parser $(ARGS)
	@$(BENCH_RUN) -m benchmarks.render --text --results build/bench-parser

# The same small GET on every Python that is here: two minutes, and the environments.
bench-pythons:
	@for python in $(BENCH_PYTHONS); do \
		"$$python" -c "$$DOCTOR" >/dev/null 2>&1 || { echo "$$python is left out"; continue; }; \
		name=$$("$$python" -c 'import platform; print(platform.python_version())'); \
		$(MAKE) --no-print-directory VENV=.venv-bench-$$name PYTHON="$$python" \
			build .venv-bench-$$name/bench.stamp || continue; \
		.venv-bench-$$name/bin/python -m benchmarks.bench_server --shapes small --rate 20000 \
			--contenders ours-asyncio,ours-uvloop,limit-asyncio,limit-uvloop,uvicorn \
			--output benchmarks/results/pythons/$$name $(ARGS); \
	done
	@$(MAKE) --no-print-directory bench-render ARGS=

bench-operations: bench-environment
	$(BENCH_RUN) -m benchmarks.operations $(ARGS)

bench-render: bench-environment
	$(BENCH_RUN) -m benchmarks.render $(ARGS)

# Needs valgrind. ARGS=write records new bounds.
bench-guard: build $(VENV)/test.stamp
	$(BIN)/python -m benchmarks.guard $(ARGS)

clean:
	rm -rf build dist src/*.egg-info src/fasthttpserver/*.so src/fasthttpserver/*.c
	rm -rf .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache htmlcov $(VENV)/build.stamp

distclean: clean
	rm -rf $(VENV) vendor/llhttp/include vendor/llhttp/src vendor/llhttp/LICENSE*

# Stamps: each is newer than what it was made from, so a second run starts at once.

$(VENV)/env.stamp: pyproject.toml
	@python=$$($(FIND_PYTHON)) || exit 1; \
	if $(BIN)/python -c "$$DOCTOR" >/dev/null 2>&1; then :; else \
		echo "making $(VENV) with $$python"; "$$python" -m venv --clear $(VENV); \
	fi
	@$(PIP) install 'pip>=25.1'  # for --group
	@$(PIP) install --group build
	@touch $@

$(VENV)/build.stamp: $(VENV)/env.stamp setup.py vendor/llhttp/pin.toml $(CYTHON_SOURCES)
	@echo 'compiling the extension'
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/%.stamp: $(VENV)/env.stamp
	@$(PIP) install --group $*
	@touch $@

# What this Python lacks, and what to install: one line and status 1. Too old: status 2.
# Runs on any Python at all, hence the old syntax.
define DOCTOR
import os, shlex, subprocess, sys
if sys.version_info < (3, 11):
    sys.exit(2)
import importlib.util, sysconfig
name = "python3.%d" % sys.version_info[1]
advice = " Debian, Ubuntu: apt install %s; Fedora: dnf install %s; macOS: %s"
if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
    advice %= name + "-venv", name, "brew install python"
    sys.exit(sys.executable + " cannot make environments (venv, ensurepip)." + advice)
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    advice %= name + "-dev", name + "-devel", "brew install python"
    sys.exit(sys.executable + " has no C headers (Python.h)." + advice)
compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
try:
    subprocess.run([shlex.split(compiler)[0], "--version"], capture_output=True, check=True)
except (OSError, subprocess.CalledProcessError):
    advice %= "gcc", "gcc", "xcode-select --install"
    sys.exit("There is no working C compiler (" + compiler + ")." + advice)
endef
export DOCTOR

# The first Python that the doctor passes; otherwise the first complaint, on stderr.
define FIND_PYTHON
for python in $(PYTHON); do \
	said=$$("$$python" -c "$$DOCTOR" 2>&1); \
	case $$? in \
		0) echo "$$python"; exit 0;; \
		1) complaint="$${complaint:-$$said}";; \
	esac; \
done; \
echo "$${complaint:-No Python >= 3.11 among: $(PYTHON). Install one, or make PYTHON=...}" >&2; exit 1
endef
