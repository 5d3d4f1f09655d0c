# `make help` lists the targets. Each installs what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := $(VENV)/clients

.DEFAULT_GOAL := help
.PHONY: help run test check wheel bench bench-lists bench-mail faults failover upgrade screenshots clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Anonmail needs Python 3.11 or later.") if sys.version_info < (3, 11) else None'
	@echo "Creating the virtual environment and installing requirements.txt."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "The virtual environment could not be created. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-sentry.txt requirements-ldap.txt requirements-dev.txt requirements-clients.txt tests/clients/package.json tests/rig/openid/package.json $(VENV)/.run
	@echo "Installing requirements-dev.txt."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-ldap.txt || echo "requirements-ldap.txt could not be installed (Debian: gcc, python3-dev, libldap2-dev, libsasl2-dev), so the tests with LDAP are skipped."
	@echo "Installing the published API clients for the tests."
	@rm -rf $(CLIENTS) && mkdir -p $(CLIENTS)/npm $(CLIENTS)/openid
	@cp tests/clients/package.json $(CLIENTS)/npm/ && cp tests/rig/openid/package.json $(CLIENTS)/openid/
	@grep == requirements-clients.txt | while read -r client; do \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
			--target "$(CLIENTS)/$${client%%==*}" "$$client" || exit 1; \
	done
	@for package in npm openid; do \
		command -v node >/dev/null && npm install --no-package-lock --no-audit --no-fund --ignore-scripts \
			--loglevel=error --fetch-retries=0 --fetch-timeout=20000 --prefix $(CLIENTS)/$$package \
			|| echo "npm's packages for $$package could not be installed, so their tests are skipped."; \
	done
	@touch $@

run: $(VENV)/.run ## set everything up and serve at http://localhost:8000/ (other port: make run PORT=8080)
	@$(if $(PORT),PORT=$(PORT)) $(BIN)/python manage.py runall

test: $(VENV)/.dev ## run all tests on SQLite, then on PostgreSQL
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)
	$(BIN)/python -m tests.rig.postgresql $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(VENV)/.dev ## check style, types, imports, the Dockerfile, templates, migrations and deployment settings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile
	git ls-files -z 'templates/*.html' 'templates/*.txt' | xargs -0r $(BIN)/djade --check --target-version 5.2
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	$(BIN)/python -m tests.deploy_check

wheel: $(VENV)/.dev ## build the wheel in dist/
	$(BIN)/python -m hatchling build --target wheel

bench: $(VENV)/.dev ## measure the create call, lists and mail (mail as root); writes bench/results/
	$(BIN)/python -m bench.create $(ARGS)
	$(BIN)/python -m bench.lists
	$(BIN)/python -m bench.mail

bench-lists: $(VENV)/.dev ## measure lists only
	$(BIN)/python -m bench.lists $(ARGS)

bench-mail: $(VENV)/.dev ## measure mail only, for example ARGS="--messages 2000 --rounds 1"
	$(BIN)/python -m bench.mail $(ARGS)

faults: $(VENV)/.dev ## test each fault of the mail path, with ten kills; writes var/faults.txt
	@mkdir -p var && rm -f var/faults.txt
	FAULT_KILLS=10 FAULT_LETTERS=1000 FAULT_TABLE=var/faults.txt $(BIN)/python -m tests.rig.postgresql $(BIN)/python -m pytest -q tests/postfix/test_faults.py tests/postfix/test_faults_of_replies.py

failover: $(VENV)/.dev ## test each fault of two databases, web hosts and mail hosts; writes var/failover.txt
	@mkdir -p var && rm -f var/failover.txt
	FAULT_TABLE=var/failover.txt $(BIN)/python -m tests.rig.postgresql $(BIN)/python -m pytest -q tests/ha $(ARGS)

upgrade: $(VENV)/.dev ## test an upgrade under load: make upgrade FROM=REVISION; appends to var/upgrade.txt
	@mkdir -p var
	UPGRADE_FROM=$(FROM) FAULT_TABLE=var/upgrade.txt $(BIN)/python -m tests.rig.postgresql $(BIN)/python -m pytest -q tests/ha/test_upgrade.py $(ARGS)

screenshots: $(VENV)/.dev ## save every page (light, dark, phone, German) to var/screenshots/
	SCREENSHOTS=var/screenshots $(BIN)/python -m pytest -q tests/e2e/test_scenes.py -n 2

clean: ## remove the virtual environment and caches, but not var/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
