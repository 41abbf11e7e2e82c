#!/usr/bin/env bash
# Lays out all that is in the operator's image, as a folder: the program, and the certificates of public CAs. The
# Dockerfile and `make image` both call it.
set -euo pipefail

[[ $# == 1 ]] || {
  echo "usage: $0 FOLDER, which is made anew" >&2
  exit 2
}
root=$(realpath --canonicalize-missing "$1")
rm -rf "$root"
"$(dirname "${BASH_SOURCE[0]}")/static.sh" approval-operator "$root/approval-operator"

# What Debian's ca-certificates brings, and not /etc/ssl/certs/ca-certificates.crt: that has the CAs too that this
# machine's owner trusts. In the same order whatever the locale.
LC_ALL=C
authorities=(/usr/share/ca-certificates/mozilla/*.crt)
[[ -e ${authorities[0]} ]] || {
  echo "There are no CA certificates in /usr/share/ca-certificates/mozilla: install the package ca-certificates." >&2
  exit 1
}
mkdir -p "$root/etc/ssl/certs"
cat "${authorities[@]}" >"$root/etc/ssl/certs/ca-certificates.crt"
# Whatever the umask: another one must not make another image.
chmod -R u=rwX,go=rX "$root"
