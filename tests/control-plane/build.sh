#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kubectl from their Go modules into bin/ beside this script, once: they are built again
# only when a version or this script changes. Where KUBEBUILDER_ASSETS is set, the programs there are used instead.
set -euo pipefail

programs=(etcd kube-apiserver kubectl)

missing() { # folder
  local program
  for program in "${programs[@]}"; do
    [[ -x $1/$program ]] || echo "$program"
  done
}

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
  lacking=$(missing "$KUBEBUILDER_ASSETS")
  [[ -z $lacking ]] && exit 0
  echo "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, where there is no ${lacking//$'\n'/, no }. Unset it to build the programs here." >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
# Written last and removed first, so that a build that was cut short is taken up again.
stamp=$(cat build.sh {etcd,kubernetes}/go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -z $(missing bin) ]] && exit 0

command -v go >/dev/null || {
  echo "The tests and the demo run a real Kubernetes API server, which is built here by Go 1.26 or later: install Go." >&2
  exit 1
}
# The modules stand by themselves, also where the clone lies in someone's Go workspace.
export GOWORK=off CGO_ENABLED=0

version() { # module's folder, module
  go -C "$1" list -m -f '{{.Version}}' "$2"
}

# Go names each package as it has compiled it: counted, that is the progress. What it has in its cache it does not name.
build() { # program, its module's folder, its package, linker flags
  local program=$1 module=$2 package=$3 ldflags=$4 total
  total=$(go -C "$module" list -deps "$package" | wc -l)
  echo "Building $program"
  go -C "$module" build -v -trimpath -ldflags "-s -w $ldflags" -o "../bin/$program.new" "$package" 2>&1 |
    awk -v total="$total" -v program="$program" '
      /^[A-Za-z0-9._\/~-]+$/ {
        if (int(++done * 10 / total) > tenth) {
          tenth = int(done * 10 / total)
          print "  " program ": " done " of " total " packages"
          fflush()
        }
        next
      }
      { print; fflush() }'
  # In one step: what is called by that name is a whole program.
  mv "bin/$program.new" "bin/$program"
}

echo "Building a Kubernetes control plane for the tests and the demo: some 5 minutes on two cores, this once"
mkdir -p bin
rm -f bin/.stamp
echo "Downloading its modules"
go -C etcd mod download
go -C kubernetes mod download

kubernetes=$(version kubernetes k8s.io/kubernetes)
minor=${kubernetes#v1.}
# Without these the server calls itself v0.0.0-master, and refuses what it thinks is newer than itself.
variables=k8s.io/component-base/version
flags="-X $variables.gitVersion=$kubernetes -X $variables.gitMajor=1 -X $variables.gitMinor=${minor%%.*}"
build etcd etcd go.etcd.io/etcd/server/v3 ""
build kube-apiserver kubernetes k8s.io/kubernetes/cmd/kube-apiserver "$flags"
build kubectl kubernetes k8s.io/kubernetes/cmd/kubectl "$flags"
echo "$stamp" >bin/.stamp
