# Every target makes .venv and installs into it when needed. PYTHON names the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
LOWEST := .venv-lowest
# Clients that the tests of the services use: those of Python whose libraries are not ours, and those of Node.
CLIENTS := .venv-clients
CLIENTS_INSTALLED := $(CLIENTS)/.installed
NODE_CLIENTS := tests/serve/clients examples/openai_client
NODE_INSTALLED := $(NODE_CLIENTS:%=%/node_modules/.installed)
# Tests of the command, the service and the configuration; they need neither Ray nor torch.
LOWEST_TESTS := tests/test_cli.py tests/serve/test_guard.py tests/config/test_renamed_keys.py

# The installation compiles nothing, so the first process that imports a module must keep what it compiled. Without
# that each of the tests' many processes compiles torch and Ray again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-kills test-lowest test-slow lint docs format clean

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than Python 3.11. Run: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "Installing into .venv (a few minutes the first time) ..." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

$(CLIENTS_INSTALLED): tests/serve/clients/requirements.txt
	@echo "Installing the clients of the service into $(CLIENTS) (half a minute the first time) ..." >&2
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

$(NODE_INSTALLED): %/node_modules/.installed: %/package-lock.json
	@cd $* && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

demo: $(INSTALLED) ## Fine-tune, export and score on real reviews (about five minutes on two cores)
	@$(BIN)/python -m jobs.fetch_samples
	@$(BIN)/python -m jobs.pipeline --config jobs/configs/demo.toml

test: $(INSTALLED) $(CLIENTS_INSTALLED) $(NODE_INSTALLED) ## All tests but the slow ones and those that kill; needs Chromium and PostgreSQL (apt-get install chromium postgresql)
	@$(BIN)/python -m pytest -m "not slow and not kills and not first_process" > .pytest-second.txt 2>&1 & second=$$!; \
		$(BIN)/python -m pytest -m "not slow and not kills and first_process"; code=$$?; \
		wait $$second || code=1; cat .pytest-second.txt; exit $$code

test-kills: $(INSTALLED) ## Scoring and training whose processes are killed
	@$(BIN)/python -m pytest -m "kills and not slow"

test-lowest: ## The light tests on the lowest versions that pyproject.toml allows
	@rm -rf $(LOWEST) && $(PYTHON) -m venv $(LOWEST)
	@$(PYTHON) .ci/lowest_versions.py cpu serve > $(LOWEST)/lowest.txt
	@$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -c $(LOWEST)/lowest.txt -e '.[cpu,serve]' \
		$$(grep -E '^(fastapi|httpx|pytest|pytest-timeout)==' constraints.txt)
	@$(LOWEST)/bin/python -m pytest --noconftest $(LOWEST_TESTS)

test-slow: $(INSTALLED) $(CLIENTS_INSTALLED) $(NODE_INSTALLED) ## The long runs only
	@$(BIN)/python -m pytest -m slow

lint: $(INSTALLED) ## ruff, codespell and retired words, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@git ls-files -z | xargs -0 $(BIN)/codespell
	@$(BIN)/python .ci/check_retired_sentences.py
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(INSTALLED) ## The documentation as a site in site/: open site/index.html
	@NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --quiet

format: $(INSTALLED) ## Write the code in the project's format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

clean: ## Remove the virtual environments, data/, runs/ and site/
	rm -rf .venv $(LOWEST) $(CLIENTS) $(NODE_CLIENTS) data runs site
