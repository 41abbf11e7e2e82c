#!/usr/bin/env bash
# Installs the Debian packages named, where they are missing, and starts no daemon of theirs on this machine.
set -euo pipefail

lacking=()
for package; do
  [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || lacking+=("$package")
done
((${#lacking[@]})) || exit 0

if ! command -v apt-get >/dev/null || ((EUID)); then
  echo "Debian's ${lacking[*]} are needed, and only root can install them." \
    "As root: apt-get install --no-install-recommends ${lacking[*]}" >&2
  exit 1
fi

# What Debian asks before it starts a daemon that it has installed; 101 forbids it. An administrator's own answer stays.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

echo "Installing ${lacking[*]}"
install() {
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends \
    --option DPkg::Lock::Timeout=300 "${lacking[@]}" >/dev/null
}
# A machine that has never asked does not know of any package, and one that asked long ago of versions that are gone.
install 2>/dev/null || { apt-get update --quiet --quiet && install; }
