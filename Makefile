.DEFAULT_GOAL := help
.PHONY: help demo test lint generate control-plane

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: control-plane ## Answer approvals in a real Kubernetes API server and a local CodePipeline, and show how
	@echo "Building the operator (some 5 min on two cores the first time, seconds later)"
	@cargo build --quiet --workspace
	@./demo.sh

# Most tests wait for servers rather than compute, so more of them run at a time than there are cores.
test: control-plane ## Run every test
	cargo test --workspace -- --test-threads=8

lint: ## Check formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

generate: ## Write anew what is generated from the code: crds/ and parts of docs/
	GENERATE=1 cargo test --package approval-operator --test it generated

control-plane: ## Build etcd, kube-apiserver and kubectl, once (some 5 min on two cores)
	@tests/control-plane/build.sh
