# Everything a contributor types. `make help` lists it.

PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-serving bench-planning generated

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: ## Build Polder, run its main job on several million generated records and a real PostgreSQL, and serve them (ARGS=--once: do not)
	@sh tools/setup.sh --server
	@$(PYTHON) tools/demo.py $(ARGS)

test: ## Run every test; installs what they need where it may
	@sh tools/setup.sh
	@$(PYTHON) tools/pg.py run -- $(PYTHON) tools/s3.py run -- sh tools/test.sh

check: ## Format, lints, levels, generated files, files over 800 lines, the version of SQLite
	@$(PYTHON) tools/check.py

bench: ## Measure Polder beside its peers
	@$(PYTHON) bench/run.py

bench-serving: ## Measure a served project beside PostgreSQL and DuckDB
	@$$(sh tools/setup.sh --python) bench/serving.py

bench-planning: ## Measure planning a project of 1,000 models beside dbt-core and SQLMesh
	@$(PYTHON) bench/planning.py

generated: ## Write the generated files anew: docs/cli.md and docs/schemas/
	@$(PYTHON) tools/check.py --write
