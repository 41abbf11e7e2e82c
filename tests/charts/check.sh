#!/usr/bin/env bash
# Checks the charts: that helm finds nothing wrong with them, that they render as their tests say, that their documentation is that
# of their values, and that a real API server takes what they render. `make charts` builds what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
helm=$PWD/tests/control-plane/bin/helm

"$helm" lint --strict --quiet charts/*
for values in charts/approval-operator/ci/*-values.yaml; do
  "$helm" lint --strict --quiet charts/approval-operator --values "$values"
done

tests/charts/bin/helm-unittest --strict charts/approval-operator

# The one default of the program that the chart reckons with.
grep --quiet '^| `--aws-timeout` | [^|]* | 10s |' docs/reference.md || {
  echo "The default of --aws-timeout is no longer 10s: write the new one in charts/approval-operator/templates/_helpers.tpl, and here." >&2
  exit 1
}

fresh=$(mktemp --directory)
trap 'rm -r "$fresh"' EXIT
cp -r charts "$fresh"
tests/charts/docs.sh "$fresh/charts"
diff -r --unified charts "$fresh/charts" || {
  echo "The README.md of a chart is stale: run \`make generate\` and commit what it changes." >&2
  exit 1
}

"${CARGO_TARGET_DIR:-target}/debug/control-plane" run -- tests/charts/apply.sh
