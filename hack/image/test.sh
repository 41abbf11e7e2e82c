#!/usr/bin/env bash
# Inspects the operator's image and runs it as a cluster does: read-only, as user 65532 and without capabilities, against a
# real API server and the local CodePipeline behind TLS. `make image-test` builds what this needs. The test runs in its own
# network, process and mount namespaces: it sends nothing outside this machine and leaves nothing on it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/hack/image target=$(realpath "${CARGO_TARGET_DIR:-target}")

if [[ -z ${IN_NAMESPACE:-} ]]; then
  # The containers end with the process namespace, even if the test is killed.
  IN_NAMESPACE=yes exec unshare --net --mount --pid --fork --kill-child --mount-proc "$here/test.sh"
fi
if [[ -z ${IN_CONTROL_PLANE:-} ]]; then
  ip link set lo up
  for folder in /run /dev/shm /var/lib/containers; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
  done
  IN_CONTROL_PLANE=yes exec "$target/debug/test-control-plane" run -- "$here/test.sh"
fi

archive=$target/image/approval-operator.tar
folder=$(mktemp --directory --tmpdir image-test-XXXXXXXX)
clear_away() {
  podman rm --force --all --time 0 >/dev/null
  jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true
  wait
  find /sys/fs/cgroup -depth -type d -path "*/${folder##*/}*" -exec rmdir {} + || true
  rm -r "$folder"
}
trap clear_away EXIT

fail() {
  echo "FAILED: $*" >&2
  [[ -z ${operator:-} ]] || podman logs "$operator" 2>&1 | tail --lines=5 | cut --characters=1-500 >&2
  exit 1
}
passed() { echo "ok   $*"; }
until_true() { # description, command: waits until the command succeeds
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@" 2>/dev/null; do
    ((SECONDS < deadline)) || fail "$what: not reached within 30 s"
    sleep 0.05
  done
}
podman() { command podman --runtime runc --cgroup-manager cgroupfs --events-backend none --storage-driver vfs "$@"; }
# As a pod under the restricted Pod Security Standard. The ulimits are for machines on which root has no higher limits.
confined=(--pull never --ulimit nofile=20000:20000 --ulimit nproc=20000:20000 --network host --read-only --read-only-tmpfs=false
  --cap-drop ALL --security-opt no-new-privileges --cgroup-parent "/${folder##*/}")
in_image() { podman run --rm "${confined[@]}" "$image" "$@"; }

# --- Contents ---

(($(stat --format %s "$archive") < 25000000)) ||
  fail "the archive has $(stat --format %s "$archive") bytes; the limit is 25000000"
passed "the archive has $(stat --format %s "$archive") bytes"

image=$(podman load --quiet --input "$archive" | sed 's/^Loaded image: //')
root=$(podman image mount "$image")
files=$(cd "$root" && find . -type f -printf '%P %m %u:%g\n' | sort)
[[ $files == "approval-operator 755 root:root
etc/ssl/certs/ca-certificates.crt 644 root:root" ]] ||
  fail "the image has other files than the binary and the certificates, or other modes: $files"
[[ -z $(find "$root" ! -type d ! -type f) ]] || fail "the image has links or devices: $(find "$root" ! -type d ! -type f)"
passed "it has the binary and the certificates, and nothing else"

for path in "$PWD" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}"; do
  ! grep --quiet --text --fixed-strings "$path" "$root/approval-operator" ||
    fail "the binary contains a path of the build machine: $path"
done
grep --quiet --text --fixed-strings /registry/aws-config- "$root/approval-operator" ||
  fail "the binary contains no path at all, so this check proves nothing"
passed "the binary contains no path of the build machine"

openssl crl2pkcs7 -nocrl -certfile "$root/etc/ssl/certs/ca-certificates.crt" |
  openssl pkcs7 -print_certs -noout | grep ^subject >"$folder/ca_certificates"
expected=$(find /usr/share/ca-certificates/mozilla -name '*.crt' | wc --lines)
[[ $(wc --lines <"$folder/ca_certificates") == "$expected" ]] ||
  fail "the image has $(wc --lines <"$folder/ca_certificates") of $expected CA certificates"
# The CA of the AWS endpoints.
grep --quiet "CN = Amazon Root CA 1$" "$folder/ca_certificates" || fail "the image lacks Amazon Root CA 1"
passed "it has exactly the $expected CA certificates of Debian, including Amazon's"

# Trivy, Grype and Syft read this section; the SBOM is for other tools.
[[ $(readelf --wide --sections "$root/approval-operator") == *" .dep-v0 "* ]] ||
  fail "the binary does not contain its list of crates"
sbom=$target/image/approval-operator.cdx.json
digest=$(sha256sum <"$root/approval-operator" | cut --fields 1 --delimiter ' ')
[[ $(jq --raw-output '.metadata.component.hashes[0].content' "$sbom") == "$digest" ]] ||
  fail "the SBOM describes another binary"
for component in aws-lc-sys aws-sdk-codepipeline ca-certificates kube libc6-dev rustls; do
  jq --exit-status --arg name "$component" 'any(.components[]; .name == $name)' "$sbom" >/dev/null ||
    fail "the SBOM lacks $component"
done
for component in clap_derive proptest ring local-codepipeline; do
  jq --exit-status --arg name "$component" 'all(.components[]; .name != $name)' "$sbom" >/dev/null ||
    fail "the SBOM lists $component, which is not in the binary"
done
jq --exit-status '([.metadata.component, .components[]] | map(.["bom-ref"])) as $refs |
  all(.dependencies[] | .ref, .dependsOn[]?; IN($refs[]))' \
  "$sbom" >/dev/null || fail "the dependencies in the SBOM refer to missing components"
passed "its SBOM describes this binary, with $(jq '.components | length' "$sbom") components"

# --- Commands ---

version=$(podman image inspect --format '{{index .Labels "org.opencontainers.image.version"}}' "$image")
[[ $(in_image --version) == "approval-operator $version" ]] ||
  fail "the version of the binary differs from the label: $(in_image --version)"
in_image crd | diff --brief - <(cat crds/*.yaml) >/dev/null || fail "crd does not print the contents of crds/"
passed "--version and crd work"

# --- A CodePipeline behind TLS ---

PATH=$target/debug:$PATH
local-codepipeline serve --address 127.0.0.1:0 --lags none >"$folder/url" &
until_true "the local CodePipeline's address" test -s "$folder/url"
url=$(<"$folder/url")

cat >"$folder/tls.conf" <<END
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[intermediate]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = DNS:hosts.aws.test,DNS:dns.aws.test
END
certify() { # name and section, arguments for the issuer unless it is self-signed
  openssl req -x509 -newkey rsa:2048 -noenc -days 2 -config "$folder/tls.conf" -extensions "$1" -subj "/CN=$1" \
    -keyout "$folder/$1.key" -out "$folder/$1.crt" "${@:2}" 2>/dev/null
}
certify root
certify intermediate -CA "$folder/root.crt" -CAkey "$folder/root.key"
certify server -CA "$folder/intermediate.crt" -CAkey "$folder/intermediate.key"
# Like the AWS endpoints, the server sends the whole chain except the root.
cat "$folder/server.crt" "$folder/intermediate.crt" >"$folder/chain.crt"
cat >"$folder/stunnel.conf" <<END
foreground = yes
pid =
debug = warning
[codepipeline]
accept = 127.0.0.1:4443
connect = ${url#http://}
cert = $folder/chain.crt
key = $folder/server.key
END
stunnel "$folder/stunnel.conf" 2>"$folder/stunnel.log" &
until_true "the TLS server" bash -c '</dev/tcp/127.0.0.1/4443'

# --- Name resolution, as kubelet configures it for a pod ---

dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --no-resolv --no-hosts --pid-file \
  --listen-address=127.0.0.1 --bind-interfaces --local=/aws.test/ --local=/cluster.local/ \
  --host-record=dns.aws.test,127.0.0.1 --host-record=other.aws.test,127.0.0.1 2>"$folder/dnsmasq.log" &
until_true "the DNS server" bash -c '</dev/tcp/127.0.0.1/53'
cat >"$folder/resolv.conf" <<END
search default.svc.cluster.local svc.cluster.local cluster.local
nameserver 127.0.0.1
options ndots:5
END
printf '127.0.0.1 localhost\n127.0.0.1 hosts.aws.test\n' >"$folder/hosts"
install --mode 644 "$KUBECONFIG" "$folder/kubeconfig"
kubectl apply --server-side --filename crds/ >/dev/null
kubectl wait --for=condition=Established crd/approvaldecisions.codepipeline.approvals.dev >/dev/null

start() { # host name of the endpoint of CodePipeline, arguments of podman
  operator=$(podman run --detach "${confined[@]}" "${@:2}" --volume "$folder/kubeconfig:/kubeconfig:ro" --env KUBECONFIG=/kubeconfig \
    --volume "$folder/hosts:/etc/hosts:ro" --volume "$folder/resolv.conf:/etc/resolv.conf:ro" \
    --env AWS_ENDPOINT_URL_CODEPIPELINE="https://$1:4443" --env AWS_ENDPOINT_URL_STS="$url" --env AWS_REGION=eu-west-1 \
    --env AWS_ACCESS_KEY_ID=operator --env AWS_SECRET_ACCESS_KEY=secret \
    "$image" run --poll-interval 1s)
}
# In a container the operator is process 1, which SIGTERM ends only if the operator handles it.
stop() {
  podman kill --signal TERM "$operator" >/dev/null
  local code
  code=$(timeout 20 podman wait "$operator") || fail "the operator is still running 20 s after SIGTERM"
  [[ $code == 0 ]] || fail "the operator exited with $code after SIGTERM"
  podman rm "$operator" >/dev/null
  operator=
}
decide() { # pipeline, which is also the decision's name
  local token
  token=$(AWS_ENDPOINT_URL=$url local-codepipeline open-approval "$1" Prod Approve)
  kubectl apply --filename - >/dev/null <<END
apiVersion: codepipeline.approvals.dev/v1alpha1
kind: ApprovalDecision
metadata: {name: $1}
spec: {pipelineName: $1, stageName: Prod, actionName: Approve, token: $token, result: {status: Approved, summary: from a container}}
END
}
ready() { kubectl get apd "$1" -o jsonpath="{.status.conditions[?(@.type=='Ready')].$2}"; }
expect() { # decision, reason: waits until the decision has the reason
  local deadline=$((SECONDS + 30))
  until [[ $(ready "$1" reason) == "$2" ]]; do
    ((SECONDS < deadline)) || fail "after 30 s, the reason of $1 is $(ready "$1" reason), not $2: $(ready "$1" message)"
    sleep 0.05
  done
}
submissions() { AWS_ENDPOINT_URL=$url local-codepipeline ledger --json | grep --count "\"$1\"" || true; }
delivers() { # property, decision, host name of the endpoint, arguments of podman
  decide "$2"
  start "${@:3}"
  expect "$2" Delivered
  stop
  passed "$1"
}
refuses() { # same arguments
  decide "$2"
  start "${@:3}"
  expect "$2" ServiceUnavailable
  (($(submissions "$2") == 0)) || fail "the operator sent the result of $2 to an untrusted server"
  stop
  passed "$1: $(ready "$2" message)"
}

bundle=/etc/ssl/certs/ca-certificates.crt
ours=(--volume "$folder/root.crt:$bundle:ro")

decide confined
start hosts.aws.test "${ours[@]}"
expect confined Delivered
process=/proc/$(podman inspect --format '{{.State.Pid}}' "$operator")
for line in 'Uid:	65532	65532	65532	65532' 'Gid:	65532	65532	65532	65532' 'Groups:	65532 ' \
  'CapPrm:	0000000000000000' 'CapEff:	0000000000000000' 'CapBnd:	0000000000000000' 'NoNewPrivs:	1'; do
  grep --quiet --fixed-strings --line-regexp "$line" "$process/status" ||
    fail "the operator's process is not confined: $line is missing in $(<"$process/status")"
done
grep --quiet '^[^ ]* / [^ ]* ro[, ]' "$process/mounts" ||
  fail "the operator's root is writable: $(grep ' / ' "$process/mounts")"
stop
passed "it delivers as user 65532, without capabilities and with a read-only root, and exits on SIGTERM"

delivers "it resolves names from /etc/hosts, and trusts a CA in the image's bundle" \
  from-hosts hosts.aws.test "${ours[@]}"
delivers "it resolves names by DNS with a cluster's search path" from-dns dns.aws.test "${ours[@]}"
delivers "SSL_CERT_FILE selects another bundle" \
  other-bundle hosts.aws.test --volume "$folder/root.crt:/ca.crt:ro" --env SSL_CERT_FILE=/ca.crt
refuses "it rejects a CA that is not in the bundle" unknown-ca hosts.aws.test
refuses "it rejects a certificate for another name" other-name other.aws.test "${ours[@]}"
