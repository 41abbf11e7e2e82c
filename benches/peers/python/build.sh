#!/usr/bin/env bash
# Creates a virtual environment in bin/ with the packages that the Python and shell contenders of `make bench` need. It does nothing
# if they are installed and neither this script nor requirements.txt has changed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# The stamp is removed first and written last, so that an interrupted build starts again.
stamp=$(cat build.sh requirements.txt | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" ]] && exit 0

command -v python3 >/dev/null || {
  echo "python3 not found. The benchmark compares the operator with kopf, boto3 and the AWS CLI: install Python 3.10 or later." >&2
  exit 1
}
echo "Installing kopf, boto3 and the AWS CLI for the benchmark: about one minute, only once"
rm -rf bin
python3 -m venv bin
bin/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
# Compiled now, so that the benchmark does not measure the compilation.
bin/bin/python -m compileall -q bin/lib || true
echo "$stamp" >bin/.stamp
