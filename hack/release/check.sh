#!/usr/bin/env bash
# Checks that all files state the same version of the project and the same oldest version of Kubernetes. With an argument, also that
# this version can be released: it is the project's, and the changelog has a section for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

problems=()
expect() { # what, its value, the expected value
  [[ $2 == "$3" ]] || problems+=("$1 is ${2:-missing}, not $3")
}
field() { # file, field
  sed -nE "s/^$2: *\"?([^\"]*)\"? *$/\1/p" "$1"
}

version=$(hack/release/version.sh)
oldest=$(sed -nE 's/^(require|\t) *k8s\.io\/kubernetes v([0-9]+\.[0-9]+)\..*/\2/p' crates/test-control-plane/oldest/go.mod)
for chart in charts/*/Chart.yaml; do
  expect "version in $chart" "$(field "$chart" version)" "$version"
  expect "appVersion in $chart" "$(field "$chart" appVersion)" "$version"
  expect "kubeVersion in $chart" "$(field "$chart" kubeVersion)" ">=$oldest.0-0"
done
expect "the minimum in docs/install.md" \
  "$(sed -nE 's/.*a cluster with Kubernetes ([0-9.]+) or later.*/\1/p' docs/install.md)" "$oldest"

if (($#)); then
  expect "the version in Cargo.toml" "$version" "$1"
  notes=$(hack/release/notes.sh "$1" 2>&1 >/dev/null) || problems+=("$notes")
fi

if ((${#problems[@]})); then
  printf 'FAILED: %s\n' "${problems[@]}" >&2
  exit 1
fi
echo "ok   all files state version $version, and Kubernetes $oldest as the oldest${1:+; version $1 can be released}"
