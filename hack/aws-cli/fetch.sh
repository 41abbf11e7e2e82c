#!/usr/bin/env bash
# Installs the AWS CLI into bin/ beside this script, once, in a virtual environment of Python. If AWS_CLI is set, the tests use that
# program instead.
set -euo pipefail

if [[ -n ${AWS_CLI:-} ]]; then
  [[ -x $AWS_CLI ]] && exit 0
  echo "AWS_CLI is $AWS_CLI, which is not an executable file. Correct it, or unset it to install the AWS CLI here." >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
# Removed first and written last, so that an interrupted installation is repeated.
stamp=$(cat fetch.sh requirements.txt | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/bin/aws ]] && exit 0

python3 -c 'import ensurepip, venv' 2>/dev/null || ../image/packages.sh python3-venv || {
  echo "The tests run the documentation's AWS commands, and Python 3.10 or later with venv is missing to install the AWS CLI." \
    "Install it (on Debian: python3-venv), or set AWS_CLI to the program \`aws\`." >&2
  exit 1
}

echo "Installing the AWS CLI for the tests, once (about 30 s)"
rm -rf bin
python3 -m venv bin
bin/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
echo "$stamp" >bin/.stamp
