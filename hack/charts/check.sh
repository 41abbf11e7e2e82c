#!/usr/bin/env bash
# Checks the charts: helm lint, their unit tests, that their README.md files are up to date, and that a real API server accepts the
# rendered objects. `make charts` builds what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
helm=$PWD/crates/test-control-plane/bin/helm

"$helm" lint --strict --quiet charts/*
for values in charts/approval-operator/ci/*-values.yaml; do
  "$helm" lint --strict --quiet charts/approval-operator --values "$values"
done

hack/charts/bin/helm-unittest --strict charts/approval-operator

# The chart has a copy of this default of the program.
# shellcheck disable=SC2016 # the backticks are literal
grep --quiet '^| `--aws-timeout` | [^|]* | 10s |' docs/reference.md || {
  echo "The default of --aws-timeout is no longer 10s: change it in charts/approval-operator/templates/_helpers.tpl and in $0." >&2
  exit 1
}

fresh=$(mktemp --directory)
trap 'rm -r "$fresh"' EXIT
cp -r charts "$fresh"
hack/charts/docs.sh "$fresh/charts"
diff -r --unified charts "$fresh/charts" || {
  echo "The README.md of a chart is stale: run \`make generate\` and commit the changes." >&2
  exit 1
}

"${CARGO_TARGET_DIR:-target}/debug/test-control-plane" run -- hack/charts/apply.sh
