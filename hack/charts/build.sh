#!/usr/bin/env bash
# Builds helm-unittest and helm-docs from this Go module, and copies the CRDs of the Prometheus Operator from its own module.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
source ../go-build.sh
start_build "The chart checks need helm-unittest and helm-docs" "about 80 seconds" build.sh {.,prometheus-operator}/go.{mod,sum}
# The tools that go.mod declares.
go build -o bin/new/ tool
module=github.com/prometheus-operator/prometheus-operator
go -C prometheus-operator mod download "$module"
source=$(go -C prometheus-operator list -m -f '{{.Dir}}' "$module")
cp "$source"/example/prometheus-operator-crd/monitoring.coreos.com_{prometheusrules,servicemonitors}.yaml bin/new/
finish_build
