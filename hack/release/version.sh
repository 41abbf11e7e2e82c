#!/usr/bin/env bash
# Prints the version of the project, which is in Cargo.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=$(cargo pkgid --offline --package approval-operator)
echo "${version##*[@#]}"
