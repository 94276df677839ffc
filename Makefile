# The commands of the README. Each needs make, Python 3.11 or newer and, the first time, the network; everything
# else goes into .venv. (GNU make 3.81 is enough: it is what macOS has.)

PYTHON ?= python3
PORT   ?= 8080
VENV   := .venv

# What is installed once, and again only when one of these has changed.
PROJECTS := $(wildcard packages/*/pyproject.toml packages/*/hatch_build.py) packages/pants-core/src/pants/_version.py
EDITABLE := $(patsubst %/pyproject.toml,--editable %,$(wildcard packages/*/pyproject.toml))

PIP   := $(VENV)/bin/python -m pip -qq --disable-pip-version-check
# hatch runs in .venv, with the same Python, and keeps what it makes there too.
HATCH := HATCH_PYTHON=self HATCH_DATA_DIR=$(CURDIR)/$(VENV)/hatch/data HATCH_CACHE_DIR=$(CURDIR)/$(VENV)/hatch/cache \
    $(VENV)/bin/python -m hatch

# Sorted by how soon they fail; the packages from the lowest layer up. There is work for two processors: some suites wait
# for other programs much of the time, and run beside the others.
CHECKS := lint types
LONGEST := core http
BESIDE := packaging irc telnet qt web
SUITES := $(LONGEST) $(BESIDE)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help hello test suites dev clean always $(CHECKS) $(SUITES:%=test-%)

help:
	@echo 'make hello   serve the hello page, on PORT=$(PORT), and say where'
	@echo 'make test    lint, types, the tests of every package and of the packaging'
	@echo 'make dev     set up .venv: all six distributions, editable, and every tool'
	@echo 'make clean   remove .venv, dist and what the tools left behind'
	@echo ''
	@echo 'Parts of make test: $(CHECKS) $(SUITES:%=test-%)'
	@echo 'PYTHON=$(PYTHON) is the Python that .venv is made with.'

hello: $(VENV)/.packages
	@PORT=$(PORT) $(VENV)/bin/python examples/hello_web.py

dev: $(VENV)/.packages $(VENV)/.tools
	@echo 'Ready: $(VENV)/bin/python has all of Pants, editable; $(VENV)/bin has pytest, mypy, ruff and hatch.'

test: $(CHECKS) suites

# Environments are made one at a time. What the suites beside the others print is shown at the end.
suites: $(VENV)/.tools
	@(for suite in $(BESIDE); do $(HATCH) env create $$suite || exit; done) >$(VENV)/beside.log 2>&1 || \
	    { cat $(VENV)/beside.log; exit 1; }; \
	$(MAKE) --no-print-directory --keep-going $(BESIDE:%=test-%) >$(VENV)/beside.log 2>&1 </dev/null & beside=$$!; \
	$(MAKE) --no-print-directory --keep-going $(LONGEST:%=test-%); status=$$?; \
	wait $$beside || status=1; cat $(VENV)/beside.log; exit $$status

$(CHECKS): $(VENV)/.tools
	@echo '==> $@'
	@$(HATCH) run $@

$(SUITES:%=test-%): $(VENV)/.tools
	@echo '==> $@'
	@$(HATCH) run $(@:test-%=%):test

clean:
	rm -rf $(VENV) dist packages/*/dist .coverage .coverage.* htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find packages tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

NO_PIP = echo "$(VENV) could not be set up: what went wrong is said above. Packages come over the network the first \
    time; is it there?" >&2; exit 1;

$(VENV)/.packages: $(VENV)/.made-for $(PROJECTS)
	@echo '==> installing Pants into $(VENV), editable'
	@$(PIP) install $(EDITABLE) || { $(NO_PIP) }
	@touch $@

$(VENV)/.tools: $(VENV)/.made-for pyproject.toml
	@echo '==> installing the tools into $(VENV)'
	@$(PIP) install --group dev || { $(NO_PIP) }
	@touch $@

# An environment does not survive being moved, nor a change of Python: both are noticed by what .made-for says, and it
# is made anew then. So this runs each time; it is quick, and leaves the file alone if nothing has changed.
$(VENV)/.made-for: always
	@command -v '$(PYTHON)' >/dev/null || { \
	    echo "Python 3.11 or newer is needed, and '$(PYTHON)' was not found. Install it (on Debian: apt install" \
	         "python3 python3-venv), or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed, and '$(PYTHON)' is $$('$(PYTHON)' --version 2>&1). If a newer one is" \
	         "installed, name it: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' has no venv module, which $(VENV) is made with. Debian keeps it in a package of its own:" \
	         "apt install python3-venv" >&2; exit 1; }
	@made_for="$(CURDIR) $$('$(PYTHON)' -c 'import sys; print(sys.version.split()[0], sys.base_prefix)')"; \
	if [ "$$(cat $@ 2>/dev/null)" != "$$made_for" ]; then \
	    echo '==> making $(VENV)'; \
	    rm -rf $(VENV) && '$(PYTHON)' -m venv $(VENV) && $(PIP) install --upgrade 'pip>=25.1' && \
	    echo "$$made_for" >$@ || { $(NO_PIP) }; \
	fi
