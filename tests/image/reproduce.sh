#!/usr/bin/env bash
# Builds the image of the last commit in a clone, with another path, another target folder, another umask and nothing
# compiled before, and compares it byte for byte with the one in target/image. `make image-reproduce` builds that first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ -n $(git status --porcelain) ]]; then
  echo "The clone would not have what is not committed, and its image says so in its label revision: commit first." >&2
  exit 1
fi
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
image=$(realpath "${CARGO_TARGET_DIR:-target}")/image

umask 077
git clone --quiet . "$folder/a-clone"
CARGO_TARGET_DIR=$folder/made-of-it make --no-print-directory --directory "$folder/a-clone" image
for file in approval-operator.tar approval-operator.cdx.json; do
  cmp "$image/$file" "$folder/made-of-it/image/$file" || {
    echo "FAILED: the clone's $file is another" >&2
    exit 1
  }
  echo "ok   the clone's $file is the same: $(sha256sum <"$image/$file" | cut --delimiter " " --fields 1)"
done
