#!/usr/bin/env bash
# Provides the binaries of a group in bin/: `control-plane` (etcd, kube-apiserver and kubectl), `node` (what runs pods beside them)
# or `helm`; or, in bin/oldest, `oldest`: the API server of the oldest Kubernetes that the charts allow. It builds them from their
# Go modules once, and again only after a change of a version or of this script. If they are not built yet, it links the binaries of
# setup-envtest for the control plane instead. KUBEBUILDER_ASSETS takes precedence.
# With `--find` it builds nothing: it says which control plane it uses, and prints nothing if it would have to build one.
set -euo pipefail

group=${1:-} mode=${2:-} output=bin kubernetes=kubernetes
case $group in
  control-plane)
    binaries=(etcd kube-apiserver kubectl) modules=(etcd kubernetes)
    purpose="The tests and the demo need a Kubernetes API server" target="a Kubernetes control plane (about 5 minutes"
    ;;
  node)
    binaries=(kube-controller-manager kube-proxy kube-scheduler kubelet) modules=(kubernetes)
    purpose="make e2e runs pods on a Kubernetes node" target="a Kubernetes node (about 5 minutes"
    ;;
  oldest)
    binaries=(etcd kube-apiserver) modules=(etcd oldest) output=bin/oldest kubernetes=oldest
    purpose="make oldest tests with the oldest Kubernetes" target="the oldest Kubernetes API server (about 5 minutes"
    ;;
  helm)
    binaries=(helm) modules=(helm)
    purpose="The tests render and install the charts with helm" target="helm (about 2 minutes"
    ;;
  *)
    echo "Usage: $0 control-plane|oldest|node|helm [--find]" >&2
    exit 2
    ;;
esac

missing() { # folder
  local binary
  for binary in "${binaries[@]}"; do
    [[ -x $1/$binary ]] || echo "$binary"
  done
}

# Prints the folder of the newest control plane, 1.30 or later, from setup-envtest's store or kubebuilder's default folder.
envtest_folder() {
  local store=${XDG_DATA_HOME:-${HOME:-}/.local/share}/kubebuilder-envtest folder version newest=29999 found=
  [[ $(uname) == Darwin ]] && store="${HOME:-}/Library/Application Support/io.kubebuilder.envtest"
  for folder in "$store"/k8s/* /usr/local/kubebuilder/bin; do
    [[ -z $(missing "$folder") ]] || continue
    # Binaries for another platform fail here.
    version=$("$folder/kube-apiserver" --version 2>/dev/null) || continue
    [[ $version =~ ^Kubernetes\ v1\.([0-9]+)\.([0-9]+) ]] || continue
    version=$((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2]))
    ((version > newest)) && newest=$version found=$folder
  done
  [[ -n $found ]] && echo "$found"
}

if [[ $group == control-plane && -n ${KUBEBUILDER_ASSETS:-} ]]; then
  lacking=$(missing "$KUBEBUILDER_ASSETS")
  if [[ -n $lacking ]]; then
    echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no ${lacking//$'\n'/, no }. Unset it to build the binaries here." >&2
    exit 1
  fi
  echo "Using the control plane in $KUBEBUILDER_ASSETS (KUBEBUILDER_ASSETS)"
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
# Written after the build and removed before it, so that an interrupted build is repeated.
stamp=$(cat build.sh "${modules[@]/%//go.mod}" "${modules[@]/%//go.sum}" | cksum)
if [[ -f bin/.$group && $(<"bin/.$group") == "$stamp" && -z $(missing "$output") ]]; then
  [[ $group != control-plane ]] || echo "Using the control plane in $PWD/bin (built here)"
  exit 0
fi

if [[ $group == control-plane ]] && folder=$(envtest_folder); then
  mkdir -p bin
  rm -f bin/.control-plane
  ln -sf "${binaries[@]/#/$folder/}" bin/
  echo "Using the control plane in $folder (setup-envtest)"
  exit 0
fi

[[ $mode != --find ]] || exit 0

command -v go >/dev/null || {
  echo "$purpose. This script builds it with Go 1.26 or later: install Go." >&2
  exit 1
}
# Independent of a Go workspace that contains the clone. Up to 1.30, Kubernetes has cloud providers that take long to compile, and that
# this tag leaves out.
export GOWORK=off CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -tags=providerless"

version() { # module's folder, module
  go -C "$1" list -m -f '{{.Version}}' "$2"
}

# `go build -v` prints each package that it compiles, but not those in its cache.
build() { # binary, its module's folder, its package, linker flags
  local binary=$1 module=$2 package=$3 ldflags=$4 total
  total=$(go -C "$module" list -deps "$package" | wc -l)
  echo "Building $binary"
  go -C "$module" build -v -trimpath -ldflags "-s -w $ldflags" -o "../$output/$binary.new" "$package" 2>&1 |
    awk -v total="$total" -v binary="$binary" '
      /^[A-Za-z0-9._\/~-]+$/ {
        if (int(++done * 10 / total) > tenth) {
          tenth = int(done * 10 / total)
          print "  " binary ": " done " of " total " packages"
          fflush()
        }
        next
      }
      { print; fflush() }'
  # An atomic rename, so that an interrupted build leaves no partial binary.
  mv "$output/$binary.new" "$output/$binary"
}

echo "Building $target on two cores, once)"
mkdir -p "$output"
rm -f "bin/.$group"
echo "Downloading the Go modules"
for module in "${modules[@]}"; do
  go -C "$module" mod download
done

version=$(version "$kubernetes" k8s.io/kubernetes)
minor=${version#v1.}
# Without these flags the version is v0.0.0-master, and the binaries refuse clients and servers that seem newer.
variables=k8s.io/component-base/version
flags="-X $variables.gitVersion=$version -X $variables.gitMajor=1 -X $variables.gitMinor=${minor%%.*}"
for binary in "${binaries[@]}"; do
  case $binary in
    etcd) build etcd etcd go.etcd.io/etcd/server/v3 "" ;;
    helm) build helm helm helm.sh/helm/v4/cmd/helm "-X helm.sh/helm/v4/internal/version.version=$(version helm helm.sh/helm/v4)" ;;
    *) build "$binary" "$kubernetes" "k8s.io/kubernetes/cmd/$binary" "$flags" ;;
  esac
done
echo "$stamp" >"bin/.$group"
