#!/usr/bin/env bash
# Builds the program of a Go module. Arguments: directory, program name, why it is needed, and how long the build takes.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/go-build.sh"
cd "$1"
start_build "$3" "$4" ./*.go go.{mod,sum}
go build -o "bin/new/$2" .
finish_build
