#!/usr/bin/env bash
# Builds programs from their Go modules into bin/ beside this script, once: they are built again only when a version or this
# script changes. The argument says which: `control-plane` for etcd, kube-apiserver and kubectl, `node` for what runs pods
# beside them, `helm`. Where KUBEBUILDER_ASSETS is set, the programs of the control plane there are used instead.
set -euo pipefail

group=${1:-}
case $group in
  control-plane)
    programs=(etcd kube-apiserver kubectl) modules=(etcd kubernetes)
    purpose="The tests and the demo run a real Kubernetes API server" builds="a Kubernetes control plane: some 5 minutes"
    ;;
  node)
    programs=(kube-controller-manager kube-proxy kube-scheduler kubelet) modules=(kubernetes)
    purpose="make e2e runs real pods on a real node" builds="a Kubernetes node: some 5 minutes"
    ;;
  helm)
    programs=(helm) modules=(helm)
    purpose="The tests render and install the charts with helm" builds="helm: some 2 minutes"
    ;;
  *)
    echo "$0 takes control-plane, node or helm, and not \"$group\"." >&2
    exit 2
    ;;
esac

missing() { # folder
  local program
  for program in "${programs[@]}"; do
    [[ -x $1/$program ]] || echo "$program"
  done
}

if [[ $group == control-plane && -n ${KUBEBUILDER_ASSETS:-} ]]; then
  lacking=$(missing "$KUBEBUILDER_ASSETS")
  [[ -z $lacking ]] && exit 0
  echo "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, where there is no ${lacking//$'\n'/, no }. Unset it to build the programs here." >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
# Written last and removed first, so that a build that was cut short is taken up again.
stamp=$(cat build.sh "${modules[@]/%//go.mod}" "${modules[@]/%//go.sum}" | cksum)
[[ -f bin/.$group && $(<"bin/.$group") == "$stamp" && -z $(missing bin) ]] && exit 0

command -v go >/dev/null || {
  echo "$purpose, built here by Go 1.26 or later: install Go." >&2
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

echo "Building $builds on two cores, this once"
mkdir -p bin
rm -f "bin/.$group"
echo "Downloading its modules"
for module in "${modules[@]}"; do
  go -C "$module" mod download
done

kubernetes=$(version kubernetes k8s.io/kubernetes)
minor=${kubernetes#v1.}
# Without these the programs call themselves v0.0.0-master, and refuse what they think is newer than themselves.
variables=k8s.io/component-base/version
flags="-X $variables.gitVersion=$kubernetes -X $variables.gitMajor=1 -X $variables.gitMinor=${minor%%.*}"
for program in "${programs[@]}"; do
  case $program in
    etcd) build etcd etcd go.etcd.io/etcd/server/v3 "" ;;
    helm) build helm helm helm.sh/helm/v4/cmd/helm "-X helm.sh/helm/v4/internal/version.version=$(version helm helm.sh/helm/v4)" ;;
    *) build "$program" kubernetes "k8s.io/kubernetes/cmd/$program" "$flags" ;;
  esac
done
echo "$stamp" >"bin/.$group"
