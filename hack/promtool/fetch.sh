#!/usr/bin/env bash
# Downloads promtool into bin/ beside this script, once, from Debian's package, which is unpacked but not installed. If PROMTOOL
# is set, the tests use that program instead.
set -euo pipefail

if [[ -n ${PROMTOOL:-} ]]; then
  [[ -x $PROMTOOL ]] && exit 0
  echo "PROMTOOL is $PROMTOOL, which is not an executable file. Correct it, or unset it to download promtool." >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
# Removed first and written last, so that an interrupted download is repeated.
stamp=$(cksum <fetch.sh)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/promtool ]] && exit 0

command -v apt-get >/dev/null || {
  echo "The alert tests need promtool, and apt-get is not available to download it. Install Prometheus and set PROMTOOL." >&2
  exit 1
}

echo "Downloading promtool for the tests, once (19 MB)"
mkdir -p bin
rm -f bin/.stamp
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# As root, apt-get downloads as another user, who cannot write to this directory.
download() { (cd "$folder" && apt-get --quiet=2 --option APT::Sandbox::User=root download prometheus); }
# On a new machine the package lists are missing. Only root can update them.
download 2>/dev/null || { apt-get --quiet=2 update && download; }
dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar --extract --directory "$folder" ./usr/bin/promtool
# Renamed at the end, so that the name never refers to an incomplete file.
mv "$folder/usr/bin/promtool" bin/promtool
echo "$stamp" >bin/.stamp
