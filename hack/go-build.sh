# shellcheck shell=bash
# Builds Go modules into bin/ of the current folder. It builds again only if an input changes. The scripts that source this file call
# its two functions, and between them build into bin/new.

go_build=$(realpath "${BASH_SOURCE[0]}")
# The same bytes on each machine, and independent of any Go workspace that contains this clone.
export GOWORK=off CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -ldflags=-s"

# Ends the script if these inputs were built.
start_build() { # need, time, inputs…
  local need=$1 time=$2
  shift 2
  # Removed first and written last, so that an interrupted build is repeated.
  stamp=$(cat "$go_build" "$@" | cksum)
  [[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" ]] && exit 0
  command -v go >/dev/null || {
    echo "$need. Install Go 1.26 or later to build what is needed." >&2
    exit 1
  }
  echo "$need. Building, once: $time on two cores"
  rm -rf bin
  mkdir -p bin/new
}

# Gives the files their names, so that no name refers to an incomplete file.
finish_build() {
  mv bin/new/* bin/
  rmdir bin/new
  echo "$stamp" >bin/.stamp
}
