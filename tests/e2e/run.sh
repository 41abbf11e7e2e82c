#!/usr/bin/env bash
# Runs the end-to-end tests: on a node made for them, or in the cluster of E2E_KUBECONFIG, whose nodes have to have the two images already.
# `make e2e` builds what they need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ -n ${E2E_KUBECONFIG:-} ]]; then
  [[ -r $E2E_KUBECONFIG ]] || { echo "E2E_KUBECONFIG is $E2E_KUBECONFIG, which is no file that can be read: correct it, or unset it" >&2; exit 2; }
  export KUBECONFIG=$E2E_KUBECONFIG PATH=$PWD/tests/control-plane/bin:$PATH
  exec tests/e2e/story.sh
fi
images=${CARGO_TARGET_DIR:-target}/image
echo "Starting a node (some 10 s)"
exec tests/node/node.sh run --image "$images/approval-operator.tar" --image "$images/local-codepipeline.tar" -- tests/e2e/story.sh
