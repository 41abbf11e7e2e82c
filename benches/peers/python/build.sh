#!/usr/bin/env bash
# Makes a virtual environment in bin/ beside this script with what the contenders of `make bench` in Python and shell need,
# once: it is made again only when the list of packages changes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# Written last and removed first, so that a build that was cut short is taken up again.
stamp=$(cat build.sh requirements.txt | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" ]] && exit 0

command -v python3 >/dev/null || {
  echo "The benchmark measures kopf with boto3 and the AWS CLI beside the operator: install Python 3.10 or later." >&2
  exit 1
}
echo "Installing kopf, boto3 and the AWS CLI for the benchmark: about a minute, this once"
rm -rf bin
python3 -m venv bin
bin/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
# What is imported first would be compiled while it is measured.
bin/bin/python -m compileall -q bin/lib || true
echo "$stamp" >bin/.stamp
