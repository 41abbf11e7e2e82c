#!/usr/bin/env bash
# Prints the notes of a release: the section of CHANGELOG.md for this version, without its heading. A release page shows each line
# break, so a wrapped entry becomes one line. It has no folder that relative links could start from: LINK_BASE, if set, precedes them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=${1:?the version, such as 0.1.0}
heading="## $version - "
notes=$(awk -v heading="$heading" '
  /^## / { inside = index($0, heading) == 1 && $0 ~ / [0-9]+-[0-9]+-[0-9]+$/; next }
  !inside { next }
  /^  [^ ]/ { printf " %s", substr($0, 3); next }
  { printf "%s%s", separator, $0; separator = "\n" }
  END { print "" }' CHANGELOG.md)
grep --quiet '^- ' <<<"$notes" || {
  echo "CHANGELOG.md has no section \"${heading}YYYY-MM-DD\" with entries" >&2
  exit 1
}
sed -E -e '/./,$!d' ${LINK_BASE:+-e "s|\]\(([^):#]+)(#[^)]*)?\)|](${LINK_BASE}/\1\2)|g"} <<<"$notes"
