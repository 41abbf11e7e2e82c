# Functions that the scenarios share: decisions and waiting for them, the local CodePipeline, a stream of decisions during a
# disruption, and the operator's pods. scenarios.sh sets $folder, the directory for their files.
# shellcheck shell=bash disable=SC2034,SC2154

operator=approval-operator-e2e codepipeline=approval-operator-e2e-codepipeline team=approval-operator-e2e-team
release=approval-operator

passed() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
skipped() { passed "skipped: $*"; }

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  {
    kubectl get apd --output wide | grep --invert-match ' Delivered ' | head --lines=40 || true
    kubectl get pods --namespace "$operator" --output wide || true
    kubectl logs --namespace "$operator" --selector app.kubernetes.io/component=operator --prefix --tail=20 || true
  } >&2
  exit 1
}

# Runs a command that must fail with a message.
refused() { # part of the message, command
  local message=$1 output
  shift
  if output=$("$@" 2>&1); then fail "$* succeeded: $output"; fi
  grep --quiet --fixed-strings -- "$message" <<<"$output" || fail "$* failed, but without \"$message\": $output"
}

### Decisions

decision() { # name, pipeline, token, label: prints a manifest
  cat <<END
apiVersion: codepipeline.approvals.dev/v1alpha1
kind: ApprovalDecision
metadata: {name: "$1", labels: {e2e: "${4:-single}"}}
spec: {pipelineName: "$2", stageName: Prod, actionName: Approve, token: "$3", result: {status: Approved, summary: "By $1"}}
END
}

reason() { kubectl get apd "$1" --output jsonpath="{.status.conditions[?(@.type=='Ready')].reason}"; }

expect() { # decision, reason, timeout in seconds: waits until the decision has the reason
  kubectl wait apd "$1" --timeout="${3:-30}s" --for=jsonpath="{.status.conditions[?(@.type=='Ready')].reason}=$2" >/dev/null ||
    fail "the reason of $1 is $(reason "$1"), not $2"
}

# Opens an approval in a pipeline with the decision's name, and approves it.
decide() { # name, label
  decision "$1" "$1" "$(local-codepipeline open-approval "$1" Prod Approve)" "${2:-single}" | kubectl create --filename - >/dev/null
}

### CodePipeline

# Through the API server, which works from outside any cluster. The client program is beside the image.
connect() {
  : >"$folder/port-forward"
  kubectl port-forward --namespace "$codepipeline" service/local-codepipeline :4580 >"$folder/port-forward" 2>&1 &
  local port
  until port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$folder/port-forward") && [[ -n $port ]]; do
    kill -0 $! 2>/dev/null || fail "the port-forward to CodePipeline failed: $(<"$folder/port-forward")"
    sleep 0.1
  done
  export AWS_ENDPOINT_URL=http://127.0.0.1:$port
}

ledger() { local-codepipeline ledger --json; }

# Prints the pipelines of a stream that CodePipeline did not accept exactly once, with the number of accepted results.
not_once() { # stream, number of decisions
  ledger | jq --raw-output --arg stream "$1" --argjson count "$2" '
    [.[] | select(.outcome.accepted) | .pipelineName] as $accepted |
    range(1; $count + 1) | "\($stream)-\(.)" | . as $name | [$accepted[] | select(. == $name)] | length |
    select(. != 1) | "\($name): \(.)"'
}

# The longest time between two consecutive accepted results, in seconds, by CodePipeline's clock, up to that of the last decision of the
# stream. What was in doubt is sent again after its deadline, when the stream may have ended.
longest_pause() { # stream, number of decisions
  ledger | jq --arg stream "$1" --arg last "$1-$2" '
    [.[] | select(.outcome.accepted and (.pipelineName | startswith($stream + "-"))) | {name: .pipelineName, at: (.at |
      (.[:19] + "Z" | fromdate) + (.[19:-1] | if . == "" then 0 else "0\(.)" | tonumber end))}] |
    sort_by(.at) | .[:(map(.name) | index($last)) + 1] | map(.at) |
    [.[1:], .[:-1]] | transpose | map(.[0] - .[1]) | max * 1000 | round / 1000'
}

server() { # name, namespace, label...: starts a CodePipeline on port 4581
  local name=$1 namespace=$2
  shift 2
  kubectl get deployment local-codepipeline --namespace "$codepipeline" --output json |
    jq --arg name "$name" '.spec.template | {apiVersion: "v1", kind: "Pod", metadata: {name: $name}, spec} |
      .spec.containers[0] |= (.args[1] = "--address=0.0.0.0:4581" | del(.ports, .readinessProbe))' |
    kubectl label --local --filename - --output json "$@" |
    kubectl create --namespace "$namespace" --filename - >/dev/null
  kubectl wait pod "$name" --namespace "$namespace" --for=condition=Ready --timeout=30s >/dev/null || fail "the pod $name does not start"
}

address() { kubectl get pod "$1" --namespace "$2" --output jsonpath='{.status.podIP}'; } # pod, namespace

can_connect() { # namespace, pod, host:port of a CodePipeline
  kubectl exec --namespace "$1" "$2" -- /local-codepipeline ledger --endpoint "http://$3" >/dev/null
}

# Retries, because a policy takes effect a moment after the pod starts.
cannot_connect() { # same arguments
  local deadline=$((SECONDS + 10)) output
  while output=$(can_connect "$@" 2>&1); do
    ((SECONDS < deadline)) || fail "$2 in $1 can connect to $3, which the NetworkPolicy does not allow"
  done
  grep --quiet "cannot connect to" <<<"$output" || fail "$2 in $1 cannot connect to $3, but for another reason: $output"
}

### A stream of decisions, created one after another as fast as kubectl can

start_stream() { # name, the prefix of its decisions
  stream=$1
  rm -f "$folder/stop"
  echo 0 >"$folder/created"
  (
    n=0
    until [[ -e $folder/stop ]]; do
      n=$((n + 1))
      decide "$stream-$n" "$stream"
      echo "$n" >"$folder/created.new"
      mv "$folder/created.new" "$folder/created"
    done
  ) &
  streamer=$!
}

# Waits until a decision that does not exist yet has been delivered.
stream_continues() { # timeout in seconds
  local next=$(($(<"$folder/created") + 2))
  kubectl wait apd "$stream-$next" --for=create --timeout=20s >/dev/null || fail "the stream creates no further decisions"
  expect "$stream-$next" Delivered "$1"
}

# Ends the stream, and checks that every decision was delivered and accepted exactly once.
end_stream() {
  local wrong
  touch "$folder/stop"
  wait "$streamer" || fail "the stream of decisions ended early"
  created=$(<"$folder/created")
  kubectl wait apd --selector "e2e=$stream" --timeout=60s \
    --for=jsonpath="{.status.conditions[?(@.type=='Ready')].reason}=Delivered" >/dev/null ||
    fail "not delivered: $(kubectl get apd --selector "e2e=$stream" --no-headers | grep --invert-match Delivered)"
  wrong=$(not_once "$stream" "$created")
  [[ -z $wrong ]] || fail "not accepted exactly once: $wrong"
  pause=$(longest_pause "$stream" "$created")
}

### The operator

leader() { kubectl get lease "$release" --namespace "$operator" --output jsonpath='{.spec.holderIdentity}'; }

await_new_leader() { # previous leader
  local deadline=$((SECONDS + 15)) holder
  until holder=$(leader) && [[ -n $holder && $holder != "$1" ]]; do
    ((SECONDS < deadline)) || fail "the holder of the Lease is still ${holder:-empty} after the leader $1 was deleted"
    sleep 0.1
  done
}

# Makes CodePipeline accept the next result without a response. Returns once that has happened: the leader then has a submission in
# flight.
lose_a_response() {
  local before deadline=$((SECONDS + 15))
  before=$(lost_responses | wc --lines)
  curl --silent --show-error --fail --header 'content-type: application/json' "$AWS_ENDPOINT_URL/local/faults" \
    --data '{"operation": "PutApprovalResult", "requests": {"next": 1}, "effect": {"applied": "hang"}}' >/dev/null
  until (($(lost_responses | wc --lines) > before)); do
    kill -0 "$streamer" 2>/dev/null || fail "the stream of decisions ended early"
    ((SECONDS < deadline)) || fail "the operator submits no result"
    sleep 0.05
  done
}

lost_responses() { ledger | jq --raw-output '.[] | select(.fault).pipelineName'; } # prints the pipelines whose responses were lost

lost_responses_are_read_from_history() { # stream
  local name
  for name in $(lost_responses | grep "^$1-"); do
    [[ -n $(kubectl get apd "$name" --output jsonpath='{.status.decidedBy}') ]] ||
      fail "the outcome of $name was not read from CodePipeline's history"
  done
}

# The container of a pod. Sending signals needs the node's containerd.
container() { # pod
  kubectl get pod "$1" --namespace "$operator" --output jsonpath='{.status.containerStatuses[0].containerID}' | sed 's|.*/||'
}
signal() { ctr --namespace k8s.io tasks kill --signal "$@"; } # signal, container

# Deletes a pod immediately. In a cluster without access to its nodes the process gets a SIGTERM, and may release its Lease.
crash() { # pod
  local container
  container=$(container "$1")
  # A stopped process cannot handle kubelet's SIGTERM. If it were killed before the pod is deleted, kubelet would restart it.
  [[ -z ${NODE_FOLDER:-} ]] || signal SIGSTOP "$container"
  kubectl delete pod "$1" --namespace "$operator" --force --grace-period=0 2>/dev/null >&2
  [[ -z ${NODE_FOLDER:-} ]] || signal SIGKILL "$container"
}

await_ready_replicas() { # number
  kubectl wait deployment "$release" --namespace "$operator" --for=jsonpath='{.status.readyReplicas}'="$1" --timeout=60s >/dev/null ||
    fail "there are not $1 ready replicas"
}
