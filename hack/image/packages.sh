#!/usr/bin/env bash
# Installs the given Debian packages if they are missing, without starting their daemons.
set -euo pipefail

missing=()
for package; do
  [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null || ((EUID)); then
  echo "These Debian packages are missing, and only root can install them. Run as root:" \
    "apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

# Debian runs this before it starts a daemon that it has installed; 101 forbids the start. An existing file is kept.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

echo "Installing ${missing[*]}"
install() {
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends \
    --option DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null
}
# The package lists may be missing, or so old that the listed versions are gone.
install 2>/dev/null || { apt-get update --quiet --quiet && install; }
