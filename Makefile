.DEFAULT_GOAL := help
.PHONY: help demo test faults soak charts e2e bench bench-quick peers lint generate control-plane node helm health-checks promtool image image-test image-reproduce

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: control-plane ## Answer approvals in a real Kubernetes API server and a local CodePipeline, and show how
	@echo "Building the operator (some 5 min on two cores the first time, seconds later)"
	@cargo build --quiet --workspace
	@./demo.sh

# Most tests wait for servers rather than compute, so more of them run at a time than there are cores.
test: control-plane helm health-checks promtool ## Run every test
	cargo test --workspace -- --test-threads=8

faults: control-plane ## Search for a crash, a race or an input that breaks what is promised (docs/reliability.md)
	@tests/faults.sh

soak: control-plane ## Keep one operator under load with random faults for an hour, or SOAK_MINUTES
	SOAK_MINUTES=$${SOAK_MINUTES:-60} cargo test --package approval-operator --test it faults::soak -- --nocapture

charts: control-plane helm ## Check the charts: lint, unit tests, documentation, and what a real API server says of them
	@tests/charts/build.sh
	@cargo build --quiet --package control-plane
	@tests/charts/check.sh

# In the cluster of E2E_KUBECONFIG there is a node already.
e2e: control-plane helm image $(if $(E2E_KUBECONFIG),,node) ## Install the charts on a real node, and upgrade, break, drain and uninstall them (2 min)
	@image/packages.sh curl jq
	@tests/e2e/image.sh
	@tests/e2e/run.sh

bench: control-plane peers ## Measure the release build beside the alternatives and the ceiling (an hour on two cores)
	cargo bench --package approval-operator --bench '*'

bench-quick: control-plane peers ## Show that the benchmark works, with the debug build and a handful of decisions: no figures
	cargo bench --profile dev --package approval-operator --bench throughput -- --quick

peers: ## Build the alternatives that the benchmark measures, once (some 3 min on two cores)
	@tests/go-program.sh benches/peers/go controller "The benchmark measures a controller in Go beside the operator" "some 2 min"
	@benches/peers/python/build.sh

lint: ## Check formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

generate: ## Write anew what is generated from the code: crds/, parts of docs/ and of charts/
	GENERATE=1 cargo test --package approval-operator --test it generated
	@tests/charts/build.sh
	tests/charts/docs.sh charts

health-checks: ## Build the health check evaluators of Argo CD and Flux, once (about a minute on two cores)
	@tests/go-program.sh tests/health-checks health-checks "The tests run the health checks of Argo CD and Flux in their own evaluators" "about a minute"

promtool: ## Fetch promtool, once (a package of Debian's, seconds)
	@tests/promtool/fetch.sh

control-plane: ## Build etcd, kube-apiserver and kubectl, once (some 5 min on two cores)
	@tests/control-plane/build.sh control-plane

node: ## Build kubelet and what else runs pods, and install containerd, once (some 5 min on two cores)
	@tests/control-plane/build.sh node
	@image/packages.sh containerd containernetworking-plugins dnsmasq-base gcc iproute2 iptables jq libc6-dev runc
	@tests/node/pause.sh

helm: ## Build helm, once (some 2 min on two cores)
	@tests/control-plane/build.sh helm

image: ## Build the operator's image and its SBOM into target/image (some 7 min on two cores the first time)
	@image/build.sh

image-test: image control-plane ## Run the image as a cluster would, and look at what is in it
	@image/packages.sh binutils dnsmasq-base iproute2 jq openssl podman runc stunnel4 util-linux
	@cargo build --quiet --workspace
	@tests/image/test.sh

image-reproduce: image ## Show that a clone of the last commit gives the same image (some 7 min on two cores)
	@tests/image/reproduce.sh
