# Watchkeeper's verbs. `make` alone prints them.

CARGO ?= cargo
export CARGO

.DEFAULT_GOAL := help
.PHONY: help run demo test mutants check bench prerequisites

help: ## print this list
	@sed -n 's/^\([a-z]*\):.* ## /  make \1\t/p' Makefile | expand -t 16

run: prerequisites ## build and serve with config/watchkeeper.yaml; data in ./data
	$(CARGO) run --locked --profile quick -- serve --config config/watchkeeper.yaml

demo: prerequisites ## three incidents on this machine, from the alert to the report
	$(CARGO) run --locked --profile quick -- demo

test: ## every test on SQLite and Postgres; installs what they need (T=name runs some)
	@scripts/test $(T)

mutants: ## take out one protection at a time; the tests that guard it must fail (NAME=patch tries one)
	@scripts/mutants $(NAME)

check: ## format, lints, docs, dependencies, shipped config, alert rules
	@scripts/check

bench: prerequisites ## throughput, latency, memory, as ratios against a reference (ARGS="--quick acks" does less)
	$(CARGO) bench --locked --profile quick --bench bench -- $(ARGS)

prerequisites:
	@scripts/prerequisites
