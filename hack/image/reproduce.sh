#!/usr/bin/env bash
# Builds the image of the last commit in a clone, with another path, target directory and umask and an empty build cache, and
# compares it byte for byte with the image in target/image, which `make image-reproduce` builds first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ -n $(git status --porcelain) ]]; then
  echo "There are uncommitted changes, which a clone does not have: commit them first." >&2
  exit 1
fi
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
image=$(realpath "${CARGO_TARGET_DIR:-target}")/image

umask 077
git clone --quiet . "$folder/a-clone"
CARGO_TARGET_DIR=$folder/target make --no-print-directory --directory "$folder/a-clone" image
for file in approval-operator.tar approval-operator.cdx.json; do
  cmp "$image/$file" "$folder/target/image/$file" || {
    echo "FAILED: the clone's $file differs" >&2
    exit 1
  }
  echo "ok   the clone's $file is identical: $(sha256sum <"$image/$file" | cut --delimiter " " --fields 1)"
done
