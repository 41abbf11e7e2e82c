.DEFAULT_GOAL := help
.PHONY: help demo test bench lint generate control-plane health-checks

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: control-plane ## Answer approvals in a real Kubernetes API server and a local CodePipeline, and show how
	@echo "Building the operator (some 5 min on two cores the first time, seconds later)"
	@cargo build --quiet --workspace
	@./demo.sh

# Most tests wait for servers rather than compute, so more of them run at a time than there are cores.
test: control-plane health-checks ## Run every test
	cargo test --workspace -- --test-threads=8

bench: control-plane ## Measure the release build (some 10 min on two cores, most of it compiling)
	cargo bench --package approval-operator --bench '*'

lint: ## Check formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

generate: ## Write anew what is generated from the code: crds/ and parts of docs/
	GENERATE=1 cargo test --package approval-operator --test it generated

health-checks: ## Build the health check evaluators of Argo CD and Flux, once (about a minute on two cores)
	@tests/health-checks/build.sh

control-plane: ## Build etcd, kube-apiserver and kubectl, once (some 5 min on two cores)
	@tests/control-plane/build.sh
