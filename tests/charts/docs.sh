#!/usr/bin/env bash
# Writes the README.md of every chart in a folder, from its README.md.gotmpl and the comments of its values.yaml. A value without a
# comment is an error.
set -euo pipefail

charts=${1:?a folder with charts}
"$(dirname "${BASH_SOURCE[0]}")/bin/helm-docs" --chart-search-root "$charts" --sort-values-order file --skip-version-footer \
  --log-level warning
# What stands in the column of descriptions is empty then.
if grep --line-number --extended-regexp '^\| \S+ \| .* \|  \|$' "$charts"/*/README.md; then
  echo "These values have no comment that begins with \"# --\" in values.yaml." >&2
  exit 1
fi
