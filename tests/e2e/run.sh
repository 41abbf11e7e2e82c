#!/usr/bin/env bash
# Runs the end-to-end tests on a node of their own, or in the cluster of E2E_KUBECONFIG, whose nodes must have the two images already.
# `make e2e` builds what they need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ -n ${E2E_KUBECONFIG:-} ]]; then
  [[ -r $E2E_KUBECONFIG ]] || {
    echo "E2E_KUBECONFIG is $E2E_KUBECONFIG, which is not a readable file: correct it, or unset it" >&2
    exit 2
  }
  export KUBECONFIG=$E2E_KUBECONFIG PATH=$PWD/crates/test-control-plane/bin:$PATH
  exec tests/e2e/scenarios.sh
fi
images=${CARGO_TARGET_DIR:-target}/image
echo "Starting a node (about 10 s)"
exec tests/e2e/node/node.sh run --image "$images/approval-operator.tar" --image "$images/local-codepipeline.tar" -- tests/e2e/scenarios.sh
