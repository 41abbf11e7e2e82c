#!/usr/bin/env bash
# Creates a directory with the files of the operator's image: the binary, and the certificates of public CAs. The Dockerfile
# and `make image` both run this.
set -euo pipefail

[[ $# == 1 ]] || {
  echo "usage: $0 DIRECTORY (replaced if it exists)" >&2
  exit 2
}
root=$(realpath --canonicalize-missing "$1")
rm -rf "$root"
"$(dirname "${BASH_SOURCE[0]}")/static.sh" approval-operator "$root/approval-operator"

# The certificates of Debian's package, not /etc/ssl/certs/ca-certificates.crt, which also has the CAs that were added on this
# machine. LC_ALL makes their order independent of the locale.
LC_ALL=C
certificates=(/usr/share/ca-certificates/mozilla/*.crt)
[[ -e ${certificates[0]} ]] || {
  echo "There are no CA certificates in /usr/share/ca-certificates/mozilla: install the package ca-certificates." >&2
  exit 1
}
mkdir -p "$root/etc/ssl/certs"
cat "${certificates[@]}" >"$root/etc/ssl/certs/ca-certificates.crt"
# The image must not depend on the umask.
chmod -R u=rwX,go=rX "$root"
