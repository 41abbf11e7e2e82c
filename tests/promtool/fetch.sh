#!/usr/bin/env bash
# Puts promtool into bin/ beside this script, once: from Debian's package, which is unpacked and not installed. Where PROMTOOL is
# set, the program there is used instead.
set -euo pipefail

if [[ -n ${PROMTOOL:-} ]]; then
  [[ -x $PROMTOOL ]] && exit 0
  echo "PROMTOOL is $PROMTOOL, which is no program. Unset it to fetch one here." >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
# Written last and removed first, so that what was cut short is taken up again.
stamp=$(cksum <fetch.sh)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/promtool ]] && exit 0

command -v apt-get >/dev/null || {
  echo "The tests evaluate the alerts with promtool, which is fetched here by apt-get: install Prometheus, and set PROMTOOL." >&2
  exit 1
}

echo "Fetching promtool for the tests (a package of 19 MB), this once"
mkdir -p bin
rm -f bin/.stamp
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The sandbox of a download by root is a user who does not get into the folder.
download() { (cd "$folder" && apt-get --quiet=2 --option APT::Sandbox::User=root download prometheus); }
# A machine that never asked knows of no packages. Only root may ask.
download 2>/dev/null || { apt-get --quiet=2 update && download; }
dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar --extract --directory "$folder" ./usr/bin/promtool
# In one step: what is called by that name is a whole program.
mv "$folder/usr/bin/promtool" bin/promtool
echo "$stamp" >bin/.stamp
