#!/usr/bin/env bash
# Installs a program of Python into bin/ of a folder, once, in a virtual environment. Arguments: the folder, which has a requirements.txt;
# the program; the variable with the path of a program to use instead; its name, what the tests do with it, and how long it takes.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 program=$2 variable=$3 name=$4 use=$5 duration=$6

if [[ -n ${!variable:-} ]]; then
  [[ -x ${!variable} ]] && exit 0
  echo "$variable is ${!variable}, which is not an executable file. Correct it, or unset it to install $name here." >&2
  exit 1
fi

# Removed first and written last, so that an interrupted installation is repeated.
stamp=$(cat hack/python-program.sh "$folder/requirements.txt" | cksum)
bin=$folder/bin
[[ -f $bin/.stamp && $(<"$bin/.stamp") == "$stamp" && -x $bin/bin/$program ]] && exit 0

python3 -c 'import ensurepip, venv' 2>/dev/null || hack/image/packages.sh python3-venv || {
  echo "The tests $use, and Python 3.10 or later with venv is missing to install $name." \
    "Install it (on Debian: python3-venv), or set $variable to the program \`$program\`." >&2
  exit 1
}

echo "Installing $name for the tests, once ($duration)"
rm -rf "$bin"
python3 -m venv "$bin"
"$bin/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$folder/requirements.txt"
echo "$stamp" >"$bin/.stamp"
