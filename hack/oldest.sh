#!/usr/bin/env bash
# Tests with the oldest Kubernetes that the charts allow what depends on its version: the definitions and their validation, the
# admission policies, RBAC, server-side apply, writes of the status, watches, leader election, and a dry run of the charts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unset KUBEBUILDER_ASSETS
crates/test-control-plane/build.sh control-plane
crates/test-control-plane/build.sh oldest
export KUBEBUILDER_ASSETS=$PWD/crates/test-control-plane/bin/oldest
# The kubectl of 1.30 lacks flags that the tests use, and people upgrade it apart from the cluster.
ln -sf ../kubectl "$KUBEBUILDER_ASSETS/kubectl"
echo "Testing with $("$KUBEBUILDER_ASSETS/kube-apiserver" --version)"

cargo test --package test-control-plane
cargo test --package approval-operator --test it -- --test-threads=6 \
  admission:: bindings:: check:: generated:: lifecycle:: outcomes:: policy:: rbac:: rejections:: replicas:: rotation:: start:: visibility:: watch::
hack/charts/build.sh
cargo build --quiet --package test-control-plane
hack/charts/check.sh
