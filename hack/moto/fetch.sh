#!/usr/bin/env bash
# Installs moto's server, with whose STS the tests compare the operator, into bin/ beside this script, once, in a virtual environment of
# Python. If MOTO_SERVER is set, the tests use that program instead.
set -euo pipefail

if [[ -n ${MOTO_SERVER:-} ]]; then
  [[ -x $MOTO_SERVER ]] && exit 0
  echo "MOTO_SERVER is $MOTO_SERVER, which is not an executable file. Correct it, or unset it to install moto here." >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
# Removed first and written last, so that an interrupted installation is repeated.
stamp=$(cat fetch.sh requirements.txt | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/bin/moto_server ]] && exit 0

python3 -c 'import ensurepip, venv' 2>/dev/null || ../image/packages.sh python3-venv || {
  echo "The tests call the STS of moto's server, and Python 3.10 or later with venv is missing to install it." \
    "Install it (on Debian: python3-venv), or set MOTO_SERVER to the program \`moto_server\`." >&2
  exit 1
}

echo "Installing moto for the tests, once (about 15 s)"
rm -rf bin
python3 -m venv bin
bin/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
echo "$stamp" >bin/.stamp
