.DEFAULT_GOAL := help
.PHONY: help demo test faults soak charts gitops e2e bench bench-quick peers lint generate control-plane node helm health-checks promtool aws-cli moto image image-test image-reproduce oldest \
	release-check release-notes release-binaries release-charts release-index release-publish

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: ## Approve and reject with kubectl, in a real Kubernetes API server or the cluster of DEMO_KUBECONFIG, and a local CodePipeline
	@hack/demo.sh

# Most tests wait for servers and use little CPU, so more of them run at a time than there are cores.
test: control-plane helm health-checks promtool aws-cli moto ## Run all tests
	cargo test --workspace -- --test-threads=6

faults: control-plane ## Search for crashes, races and inputs that break a guarantee (docs/reliability.md)
	@hack/faults.sh

soak: control-plane ## Run one operator under load with random faults for an hour, or SOAK_MINUTES, and one that verifies targets for 20 minutes
	SOAK_MINUTES=$${SOAK_MINUTES:-60} cargo test --package approval-operator --test it soak:: -- --nocapture --include-ignored

charts: control-plane helm ## Check the charts: lint, unit tests, documentation, and a dry run against a real API server
	@hack/charts/build.sh
	@cargo build --quiet --package test-control-plane
	@hack/charts/check.sh

oldest: helm ## Test with the oldest Kubernetes that the charts allow (about 15 min on two cores the first time)
	@hack/oldest.sh

# The stories wait for the controllers and use little CPU, so more of them run at a time than there are cores.
gitops: control-plane helm ## Merge decisions with the real controllers of Flux and Argo CD (docs/gitops.md)
	@hack/gitops/build.sh
	@hack/image/packages.sh git redis-server
	cargo test --package approval-operator --test it gitops_controllers -- --ignored --test-threads=6

# The cluster of E2E_KUBECONFIG has a node already.
e2e: control-plane helm image $(if $(E2E_KUBECONFIG),,node) ## Install the charts on a real node, then upgrade, break, drain and uninstall them (2 min)
	@hack/image/packages.sh curl jq
	@tests/e2e/image.sh
	@tests/e2e/run.sh

bench: control-plane peers ## Benchmark the release build against the alternatives and the upper bound (an hour on two cores)
	cargo bench --package approval-operator --bench '*'

bench-quick: control-plane peers ## Check that the benchmark works, with the debug build and a few decisions; no meaningful figures
	cargo bench --profile dev --package approval-operator --bench throughput -- --quick

peers: ## Build the alternatives that the benchmark measures, once (about 3 min on two cores)
	@hack/go-program.sh benches/peers/go controller "The benchmark compares the operator with a controller written in Go" "about 2 min"
	@benches/peers/python/build.sh

lint: ## Check formatting, lints, the workflows, and that all files state the same version
	@hack/release/check.sh
	@hack/go-program.sh hack/actionlint actionlint "The lint checks .github/workflows" "a few seconds"
	hack/actionlint/bin/actionlint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

generate: ## Regenerate the files that come from the code: crds/, parts of docs/ and of charts/
	GENERATE=1 cargo test --package approval-operator --test it generated
	@hack/charts/build.sh
	hack/charts/docs.sh charts

health-checks: ## Build the health check evaluators of Argo CD and Flux, once (about a minute on two cores)
	@hack/go-program.sh hack/health-checks health-checks "The tests run the health checks of Argo CD and Flux in the tools' own evaluators" "about a minute"

promtool: ## Fetch promtool from Debian's package, once (seconds)
	@hack/promtool/fetch.sh

aws-cli: ## Install the AWS CLI (and curl), with which the tests run the commands of the documentation, once (about 30 s)
	@command -v curl >/dev/null || hack/image/packages.sh curl
	@hack/python-program.sh hack/aws-cli aws AWS_CLI "the AWS CLI" "run the documentation's AWS commands" "about 30 s"

moto: ## Install moto's server, with whose STS the tests compare the operator, once (about 15 s)
	@hack/python-program.sh hack/moto moto_server MOTO_SERVER moto "call the STS of moto's server" "about 15 s"

control-plane: ## Build etcd, kube-apiserver and kubectl, once (about 5 min on two cores)
	@crates/test-control-plane/build.sh control-plane

node: ## Build kubelet and the other node programs, and install containerd, once (about 5 min on two cores)
	@crates/test-control-plane/build.sh node
	@hack/image/packages.sh containerd containernetworking-plugins dnsmasq-base gcc iproute2 iptables jq libc6-dev runc
	@tests/e2e/node/pause.sh

helm: ## Build helm, once (about 2 min on two cores)
	@crates/test-control-plane/build.sh helm

image: ## Build the operator's image and its SBOM into target/image (about 7 min on two cores the first time)
	@hack/image/build.sh

image-test: image control-plane ## Run the image as a cluster does, and inspect its contents
	@hack/image/packages.sh binutils dnsmasq-base iproute2 jq openssl podman runc stunnel4 util-linux
	@cargo build --quiet --workspace
	@hack/image/test.sh

image-reproduce: image ## Check that a clone of the last commit builds the same image (about 7 min on two cores)
	@hack/image/reproduce.sh

# The steps of .github/workflows/release.yaml, in their order (docs/releasing.md). They collect the files of a release in target/dist.
release-check: ## Check that VERSION can be released
	@hack/release/check.sh $(VERSION)

release-notes: ## Print the notes of VERSION from CHANGELOG.md
	@hack/release/notes.sh $(VERSION)

release-binaries: image ## Collect the binary, the image and its SBOM for this machine's architecture
	@hack/release/binaries.sh

release-charts: helm ## Package the charts; with REGISTRY, they use the image there
	@hack/release/charts.sh

release-index: ## Join the images of all architectures, and write the checksums
	@hack/release/index.sh

release-publish: helm ## Push the image and the charts to REGISTRY
	@hack/release/publish.sh
