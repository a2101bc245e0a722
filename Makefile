SUITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(SUITS)' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Every version and hash is pinned already: what pip would warn of here is noise.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
READY := .venv/.ready
SYSTEM := .venv-system
SNOWFLAKE := .venv-snowflake
MYSQL := .venv-mysql
WAREHOUSES := .venv-warehouses
CLUSTER := .venv-cluster
AIRFLOW := .venv-airflow
FAB := .venv-fab
BENCH := .venv-bench

# Without bytecode on disk, each process of a test would compile Airflow anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test faults fuzz check docs snowflake mysql warehouses matrix system system-kills system-celery system-reservations airflow browser bench bench-quick constraints clean

help:
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

# As a user gets it: from the wheel, which a repository on the path would stand in for.
define install_wheel
	@rm -rf $(1)/dist
	@$(BIN)/python -m build --wheel --no-isolation -qq --outdir $(1)/dist
	@$(BIN)/uv pip install --quiet --python $(1)/bin/python --compile-bytecode --constraints $(2) \
		--reinstall-package airflow-provider-smspartner $(1)/dist/*.whl $(3)
endef

##@ To begin with

demo: $(READY) ## two campaigns at once on credit for one, on real Airflow with a sandbox account (1 minute)
	@$(BIN)/python -m demo

# The example DAGs keep their snapshots in SQLite.
airflow: $(AIRFLOW)/.ready ## the same to click through: Airflow's web pages, the example DAGs, the credit page; Ctrl-C ends it
	$(call install_wheel,$(AIRFLOW),constraints/dev.txt,apache-airflow-providers-sqlite pygal)
	@$(BIN)/python -m demo.look_around $(AIRFLOW)

# Workers of their own: most of a test of a task is waiting.
PYTEST := $(BIN)/python -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=worksteal

test: $(READY) ## unit tests, and integration tests on real databases (5 minutes)
	@$(PYTEST) -rs

##@ Tests of a part

faults: $(READY) ## each fault on the way to SMS Partner and to a ledger, in each mode (2 minutes)
	@$(PYTEST) tests/faults

fuzz: $(READY) ## the property tests with many more inputs, 700,000 answers among them (10 minutes)
	@$(PYTEST) -p no:cacheprovider --hypothesis-profile=fuzz $(shell find tests/unit -name 'test_*_properties.py')

check: $(READY) ## lint, types, dependencies, and what a release would hold (20 seconds)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/deptry . 2>/dev/null || $(BIN)/deptry .
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation -qq
	@$(BIN)/twine --no-color check --strict dist/*
	@$(BIN)/python -m pytest -q tests/packaging

docs: $(READY) ## the documentation, warnings as errors; its links, commands and snippets checked (40 seconds)
	@rm -rf build/docs
	@$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs build/docs
	@$(PYTEST) tests/docs

snowflake: $(SNOWFLAKE)/.ready ## the snapshots in Snowflake's dialect, on a stand-in (30 seconds)
	@TEST_SNOWFLAKE=1 $(SNOWFLAKE)/bin/python -m pytest -q tests/integration -k snowflake

mysql: $(MYSQL)/.ready ## the snapshots over Airflow's own MySQL provider; needs a compiler and MySQL's headers (1 minute)
	@TEST_MYSQL=1 $(MYSQL)/bin/python -m pytest -q tests/integration -k mysql

warehouses: $(WAREHOUSES)/.ready ## the snapshots on ClickHouse, on stand-ins for BigQuery and Redshift; others compiled (2 minutes)
	@TEST_WAREHOUSES=1 $(WAREHOUSES)/bin/python -m pytest -q tests/integration -m warehouses

matrix: $(READY) ## the tests on each Airflow and Python that this is for (10 minutes)
	@$(BIN)/python tests/matrix.py $(ROWS)

##@ Tests on a whole Airflow

system: $(SYSTEM)/.ready ## the wheel on a real Airflow on this machine (4 minutes)
	$(call install_wheel,$(SYSTEM),constraints/dev.txt,statsd)
	@$(BIN)/python -m pytest -q tests/system/one_machine

system-kills: $(CLUSTER)/.ready ## the same on PostgreSQL, while one part after the other is killed (6 minutes)
	$(call install_wheel,$(CLUSTER),constraints/cluster.txt)
	@$(BIN)/python -m pytest -q tests/system/kills

system-celery: $(CLUSTER)/.ready ## the same on Celery, Redis and PostgreSQL, with two workers (3 minutes)
	$(call install_wheel,$(CLUSTER),constraints/cluster.txt)
	@$(BIN)/python -m pytest -q tests/system/celery

system-reservations: $(CLUSTER)/.ready ## forty campaigns at once on credit for ten: nobody ends short (6 minutes; 3 with EXECUTOR=celery)
	$(call install_wheel,$(CLUSTER),constraints/cluster.txt)
	@$(if $(filter celery,$(EXECUTOR)),,$(BIN)/python -m pytest -q -rs tests/system/reservations)
	@ON_CELERY=1 $(BIN)/python -m pytest -q -rs tests/system/reservations

# Apart, as in one session two Airflows would run at the same time.
browser: $(AIRFLOW)/.ready $(FAB)/.ready .venv/.browser ## Airflow's web pages, and those of make docs, in a real browser; needs Chromium and nginx (5 minutes)
	$(call install_wheel,$(AIRFLOW),constraints/dev.txt,apache-airflow-providers-sqlite pygal)
	$(call install_wheel,$(FAB),constraints/fab.txt)
	@$(BIN)/python -m pytest -q -rs tests/system/browser
	@$(BIN)/python -m pytest -q -rs tests/system/roles
	@$(BIN)/python -m pytest -q -rs tests/system/look_around
	@$(BIN)/python -m pytest -q -rs tests/system/layout

##@ Measure and maintain

bench: $(BENCH)/.ready ## what this costs beside what people write today, into docs/ (25 minutes of an idle machine)
	@$(BENCH)/bin/python -m benchmarks $(FIGURES)

bench-quick: $(BENCH)/.ready ## whether each benchmark still runs, at small sizes; nothing is kept (2 minutes)
	@$(BENCH)/bin/python -m benchmarks --quick $(FIGURES)

# No configuration: one machine's package index must not decide what everybody installs.
COMPILE := $(BIN)/uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--annotation-style line --custom-compile-command "make constraints"

constraints: $(READY) ## the newest versions that pyproject.toml allows, into constraints/
	@$(COMPILE) pyproject.toml --group dev -o constraints/dev.txt
	@$(COMPILE) pyproject.toml --group snowflake -o constraints/snowflake.txt
	@$(COMPILE) pyproject.toml --group warehouses -o constraints/warehouses.txt
	@$(COMPILE) pyproject.toml --group mysql -c constraints/dev.txt -o constraints/mysql.txt
	@$(COMPILE) pyproject.toml --group cluster -c constraints/dev.txt -o constraints/cluster.txt
	@$(COMPILE) pyproject.toml --group fab -o constraints/fab.txt
	@$(COMPILE) pyproject.toml --group bench -c constraints/dev.txt -o constraints/bench.txt
	@$(COMPILE) --group browser -c constraints/dev.txt -o constraints/browser.txt

clean: ## remove what the other targets made
	@rm -rf .venv $(SYSTEM) $(SNOWFLAKE) $(MYSQL) $(WAREHOUSES) $(CLUSTER) $(AIRFLOW) $(FAB) $(BENCH) .venv-matrix .airflow* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

$(READY): constraints/dev.txt pyproject.toml airflow_provider_smspartner/__init__.py
	@"$(PYTHON)" -c '$(SUITS)' 2>/dev/null || { \
		echo "This needs Python 3.11 to 3.14: install one, or name it: make PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv (once)..."
	@"$(PYTHON)" -m venv --clear .venv
	@sed -n '/^uv==/,/[^\\]$$/p' constraints/dev.txt | $(PIP) install --require-hashes -r /dev/stdin
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r constraints/dev.txt || { \
		echo "uv could not: trying pip, which takes a minute longer."; $(PIP) install --require-hashes -r constraints/dev.txt; }
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Empty: it gets what the wheel asks for, and no development tool that could stand in for what it forgets.
$(SYSTEM)/.ready $(AIRFLOW)/.ready: $(READY)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@touch $@

.venv/.browser: constraints/browser.txt $(READY)
	@$(BIN)/uv pip install --quiet --python .venv --require-hashes -r constraints/browser.txt
	@touch $@

$(SNOWFLAKE)/.ready: constraints/snowflake.txt
$(MYSQL)/.ready: constraints/mysql.txt
$(WAREHOUSES)/.ready: constraints/warehouses.txt
$(BENCH)/.ready: constraints/bench.txt
$(SNOWFLAKE)/.ready $(MYSQL)/.ready $(WAREHOUSES)/.ready $(BENCH)/.ready: $(READY)
	@echo "Setting up $(@D) (once)..."
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r $(filter constraints/%,$^)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

$(CLUSTER)/.ready: constraints/cluster.txt
$(FAB)/.ready: constraints/fab.txt
$(CLUSTER)/.ready $(FAB)/.ready: $(READY)
	@echo "Setting up $(@D) (once)..."
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r $(filter constraints/%,$^)
	@touch $@
