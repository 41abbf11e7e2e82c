#!/usr/bin/env bash
# Starts the cluster inside the namespaces that node.sh created: etcd, the API server, the controller manager, the scheduler,
# containerd, kubelet, kube-proxy, a DNS server and the enforcement of NetworkPolicies. Then runs COMMAND, and exits when it ends.
# The network is private, so the addresses are fixed: the node is 10.88.1.1, pods are in 10.88.1.0/24, Services in 10.0.0.0/24.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$NODE_FOLDER log=$NODE_FOLDER/log state=$NODE_FOLDER/state
node=10.88.1.1 pods=10.88.1.0/24 services=10.0.0.0/24 url=https://10.88.1.1:6443
end_of_log() { sed 's/^/  /' <(tail --lines=15 "$1" | cut --characters=1-400); }

### Mounts that protect the machine's own files from changes

mount --make-rshared /
# Also holds the layers of images: an overlay cannot use another overlay, such as a container's file system, as its upper layer.
mkdir "$state"
mount -t tmpfs node "$state"
for covered in /var/lib /var/log; do
  mkdir -p "$state/cover$covered" "$state/work$covered"
  mount -t overlay node -o "lowerdir=$covered,upperdir=$state/cover$covered,workdir=$state/work$covered" "$covered"
done
mount -t tmpfs node /run
# kubelet sets these for the whole machine. It gets copies.
for variable in kernel/{panic,panic_on_oops,keys/root_maxbytes,keys/root_maxkeys} vm/{overcommit_memory,panic_on_oom}; do
  cat "/proc/sys/$variable" >"$state/sysctl-${variable//\//-}"
  mount --bind "$state/sysctl-${variable//\//-}" "/proc/sys/$variable"
done

### Network

hostname n1
ip link set lo up
ip link add br0 type bridge
ip address add "$node/24" dev br0
ip link set br0 up
# The node cannot reach Services without a route, although kube-proxy replaces their addresses before a packet leaves.
ip route add "$services" dev br0
ip route add default dev br0
# Traffic between pods of one bridge through a Service must pass kube-proxy's rules in both directions.
echo 1 | tee /proc/sys/net/ipv4/ip_forward /proc/sys/net/bridge/bridge-nf-call-iptables >/dev/null

### Servers

start() { # program, its arguments
  local name=${1##*/}
  # Without the terminal, because Ctrl-C is for COMMAND, and without variables that the program might interpret.
  setsid --fork env --ignore-environment --chdir="$state" PATH="$PATH" "$@" >>"$log/$name.log" 2>&1 </dev/null
}
await() { # seconds, description, command: waits until the command succeeds
  local seconds=$1 what=$2 deadline
  deadline=$((SECONDS + seconds))
  shift 2
  until "$@" >"$state/await" 2>&1; do
    if ((SECONDS >= deadline)); then
      echo "node.sh: no $what after $seconds s. The last output of the check and the ends of the logs:" >&2
      end_of_log "$state/await" >&2
      for file in "$log"/*.log; do
        echo "${file##*/}:" >&2
        end_of_log "$file" >&2
      done
      exit 1
    fi
    sleep 0.1
  done
}

token() { head --bytes=24 /dev/urandom | base64 | tr '+/' '-_'; }
kubeconfig() { # user, group: creates the user and its kubeconfig file
  local token
  token=$(token)
  echo "$token,$1,$1,\"$2\"" >>"$state/tokens.csv"
  cat >"$state/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "$url", certificate-authority: $state/certificates/apiserver.crt}}]
users: [{name: "$1", user: {token: "$token"}}]
contexts: [{name: node, context: {cluster: node, user: "$1"}}]
current-context: node
END
}
kubeconfig admin system:masters
kubeconfig system:kube-controller-manager ""
kubeconfig system:kube-scheduler ""
kubeconfig system:kube-proxy ""
kubeconfig system:node:n1 system:nodes

start "$NODE_ASSETS/etcd" --name=node --data-dir="$state/etcd" --unsafe-no-fsync=true --log-level=warn
start "$NODE_ASSETS/kube-apiserver" \
  --etcd-servers=http://127.0.0.1:2379 \
  --bind-address=0.0.0.0 --advertise-address="$node" --secure-port=6443 --cert-dir="$state/certificates" \
  --token-auth-file="$state/tokens.csv" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --allow-privileged=true --kubelet-preferred-address-types=InternalIP --service-cluster-ip-range="$services" \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file="$state/certificates/apiserver.key" \
  --service-account-signing-key-file="$state/certificates/apiserver.key"

mkdir -p "$state/cni"
cat >"$state/cni/10-bridge.conf" <<END
{"cniVersion": "0.4.0", "name": "pods", "type": "bridge", "bridge": "br0", "isGateway": true, "hairpinMode": true,
 "ipam": {"type": "host-local", "subnet": "$pods", "routes": [{"dst": "0.0.0.0/0"}]}}
END
cat >"$state/containerd.toml" <<END
version = 2
root = "$state/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:local"
  # Without permission to change oom_score_adj, runc would fail with "can't get final child's PID".
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$state/cni"
END
start containerd --config "$state/containerd.toml"
await 30 "containerd" ctr version
while read -r image; do
  ctr --namespace k8s.io images import "$image" >>"$log/images.log"
done <"$folder/images"

cat >"$state/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous:
    enabled: true
  webhook:
    enabled: false
authorization:
  mode: AlwaysAllow
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $NODE_CGROUP
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS:
- $node
resolvConf: ""
podLogsDir: $log/pods
# The node must not evict pods because the machine is low on disk or memory.
evictionHard:
  memory.available: 0%
  nodefs.available: 0%
  nodefs.inodesFree: 0%
  imagefs.available: 0%
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
END
cat >"$state/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection:
  kubeconfig: $state/system:kube-proxy.kubeconfig
mode: iptables
clusterCIDR: $pods
conntrack:
  maxPerCore: 0
END

export KUBECONFIG=$state/admin.kubeconfig PATH=$NODE_ASSETS:$NODE_BIN:$PATH KUBECACHEDIR=$state/kubectl-cache KUBERC=off
export HELM_CACHE_HOME=$state/helm/cache HELM_CONFIG_HOME=$state/helm/config HELM_DATA_HOME=$state/helm/data
await 60 "API server" kubectl get --raw /readyz
start "$NODE_BIN/kube-controller-manager" --kubeconfig="$state/system:kube-controller-manager.kubeconfig" --leader-elect=false \
  --use-service-account-credentials=true --service-account-private-key-file="$state/certificates/apiserver.key" \
  --root-ca-file="$state/certificates/apiserver.crt"
start "$NODE_BIN/kube-scheduler" --kubeconfig="$state/system:kube-scheduler.kubeconfig" --leader-elect=false
start "$NODE_BIN/kubelet" --config="$state/kubelet.yaml" --kubeconfig="$state/system:node:n1.kubeconfig" --root-dir=/var/lib/kubelet \
  --cert-dir="$state/kubelet-certificates" --hostname-override=n1 --node-ip="$node"
start "$NODE_BIN/kube-proxy" --config="$state/kube-proxy.yaml" --hostname-override=n1
start "$here/dns.sh" "$KUBECONFIG" "$node" "$state/hosts"
start "$here/network-policy.sh" "$KUBECONFIG"

await 60 "ready node" kubectl wait --for=condition=Ready node/n1 --timeout=5s
await 60 "service account for pods" kubectl get serviceaccount default
await 60 "route to Services" kubectl --server=https://10.0.0.1 --tls-server-name=kubernetes.default.svc get --raw /readyz
await 10 "DNS server" bash -c "exec 3<>/dev/tcp/$node/53 && [[ -e $state/hosts/kubernetes.default.svc ]]"
await 10 "rules for NetworkPolicies" iptables --check INPUT --jump NETWORK-POLICY

### COMMAND

status=0
"$@" || status=$?
if ((status)); then
  kubectl get all,events --all-namespaces --output wide >"$log/objects.txt" 2>&1 || true
fi
exit "$status"
