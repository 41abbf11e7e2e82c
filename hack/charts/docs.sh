#!/usr/bin/env bash
# Generates the README.md of every chart in a directory from its README.md.gotmpl and the comments in its values.yaml. A value
# without a comment is an error.
set -euo pipefail

charts=${1:?a directory with charts}
"$(dirname "${BASH_SOURCE[0]}")/bin/helm-docs" --chart-search-root "$charts" --sort-values-order file --skip-version-footer \
  --log-level warning
# Its description column is empty.
if grep --line-number --extended-regexp '^\| \S+ \| .* \|  \|$' "$charts"/*/README.md; then
  echo "These values have no comment that starts with \"# --\" in values.yaml." >&2
  exit 1
fi
