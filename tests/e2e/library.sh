# What the functions of story.sh have in common: the namespaces, decisions and how they are waited for, CodePipeline's side, and a
# stream of decisions for as long as something else happens. story.sh sets folder, where their files go.
# shellcheck shell=bash disable=SC2034,SC2154

operator=approval-operator-e2e codepipeline=approval-operator-e2e-codepipeline team=approval-operator-e2e-team
release=approval-operator

shown() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

fail() {
  printf 'Not as it should be: %s\n' "$*" >&2
  {
    kubectl get apd --output wide | grep --invert-match ' Delivered ' | head --lines=40 || true
    kubectl get pods --namespace "$operator" --output wide || true
    kubectl logs --namespace "$operator" --selector app.kubernetes.io/component=operator --prefix --tail=20 || true
  } >&2
  exit 1
}

# Runs a command that has to be refused, and sees that the refusal says so.
refused() { # part of the message, command
  local message=$1 output
  shift
  if output=$("$@" 2>&1); then fail "$* was not refused: $output"; fi
  grep --quiet --fixed-strings -- "$message" <<<"$output" || fail "$* was refused, but not with \"$message\": $output"
}

### Decisions

decision() { # name, pipeline, token, label: a manifest
  cat <<END
apiVersion: codepipeline.approvals.dev/v1alpha1
kind: ApprovalDecision
metadata: {name: "$1", labels: {e2e: "${4:-single}"}}
spec: {pipelineName: "$2", stageName: Prod, actionName: Approve, token: "$3", result: {status: Approved, summary: "By $1"}}
END
}

reason() { kubectl get apd "$1" --output jsonpath="{.status.conditions[?(@.type=='Ready')].reason}"; }

expect() { # decision, the reason that it should come to, within how many seconds
  kubectl wait apd "$1" --timeout="${3:-30}s" --for=jsonpath="{.status.conditions[?(@.type=='Ready')].reason}=$2" >/dev/null ||
    fail "$1 is $(reason "$1"), not $2"
}

# Opens an approval of a pipeline of the decision's name, and approves it.
decide() { # name, label
  decision "$1" "$1" "$(local-codepipeline open-approval "$1" Prod Approve)" "${2:-single}" | kubectl create --filename - >/dev/null
}

### CodePipeline

# Reached through the API server, as it can be from outside any cluster. Its program is beside its image.
connect() {
  : >"$folder/port-forward"
  kubectl port-forward --namespace "$codepipeline" service/local-codepipeline :4580 >"$folder/port-forward" 2>&1 &
  local port
  until port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$folder/port-forward") && [[ -n $port ]]; do
    kill -0 $! 2>/dev/null || fail "no way to CodePipeline: $(<"$folder/port-forward")"
    sleep 0.1
  done
  export AWS_ENDPOINT_URL=http://127.0.0.1:$port
}

ledger() { local-codepipeline ledger --json; }

# Prints the pipelines of a stream that were not accepted exactly once, with how often they were.
not_once() { # stream, how many decisions
  ledger | jq --raw-output --arg stream "$1" --argjson count "$2" '
    [.[] | select(.outcome.accepted) | .pipelineName] as $accepted |
    range(1; $count + 1) | "\($stream)-\(.)" | . as $name | [$accepted[] | select(. == $name)] | length |
    select(. != 1) | "\($name): \(.)"'
}

# The longest time between two answers in a row, in seconds, as CodePipeline saw it.
longest_pause() { # stream
  ledger | jq --arg stream "$1" '
    [.[] | select(.outcome.accepted and (.pipelineName | startswith($stream + "-"))) | .at |
      (.[:19] + "Z" | fromdate) + (.[19:-1] | if . == "" then 0 else "0\(.)" | tonumber end)] |
    sort | [.[1:], .[:-1]] | transpose | map(.[0] - .[1]) | max * 1000 | round / 1000'
}

server() { # name, namespace, label...: a CodePipeline on the port 4581
  local name=$1 namespace=$2
  shift 2
  kubectl get deployment local-codepipeline --namespace "$codepipeline" --output json |
    jq --arg name "$name" '.spec.template | {apiVersion: "v1", kind: "Pod", metadata: {name: $name}, spec} |
      .spec.containers[0] |= (.args[1] = "--address=0.0.0.0:4581" | del(.ports, .readinessProbe))' |
    kubectl label --local --filename - --output json "$@" |
    kubectl create --namespace "$namespace" --filename - >/dev/null
  kubectl wait pod "$name" --namespace "$namespace" --for=condition=Ready --timeout=30s >/dev/null || fail "the pod $name does not start"
}

address() { kubectl get pod "$1" --namespace "$2" --output jsonpath='{.status.podIP}'; } # of a pod, in a namespace

calls() { # namespace, pod, host and port of a CodePipeline
  kubectl exec --namespace "$1" "$2" -- /local-codepipeline ledger --endpoint "http://$3" >/dev/null
}

# A policy is in force a moment after the pod runs.
calls_no_more() { # as calls
  local deadline=$((SECONDS + 10)) output
  while output=$(calls "$@" 2>&1); do
    ((SECONDS < deadline)) || fail "$2 in $1 can call $3, which the NetworkPolicy does not name"
  done
  grep --quiet "nothing answers" <<<"$output" || fail "$2 in $1 does not reach $3, but for another reason: $output"
}

### A stream of decisions, one after the other as fast as kubectl makes them

start_stream() { # name, with which its decisions begin
  stream=$1
  rm -f "$folder/stop"
  echo 0 >"$folder/made"
  (
    n=0
    until [[ -e $folder/stop ]]; do
      n=$((n + 1))
      decide "$stream-$n" "$stream"
      echo "$n" >"$folder/made.new"
      mv "$folder/made.new" "$folder/made"
    done
  ) &
  streamer=$!
}

# Waits until a decision that is yet to be made has been delivered.
stream_goes_on() { # within how many seconds
  local next=$(($(<"$folder/made") + 2))
  kubectl wait apd "$stream-$next" --for=create --timeout=20s >/dev/null || fail "no further decisions are made"
  expect "$stream-$next" Delivered "$1"
}

# Ends it, and sees that each decision was delivered, and accepted once.
end_stream() {
  local wrong
  touch "$folder/stop"
  wait "$streamer" || fail "the stream of decisions ended early"
  made=$(<"$folder/made")
  kubectl wait apd --selector "e2e=$stream" --timeout=60s \
    --for=jsonpath="{.status.conditions[?(@.type=='Ready')].reason}=Delivered" >/dev/null ||
    fail "not delivered: $(kubectl get apd --selector "e2e=$stream" --no-headers | grep --invert-match Delivered)"
  wrong=$(not_once "$stream" "$made")
  [[ -z $wrong ]] || fail "not accepted once: $wrong"
  pause=$(longest_pause "$stream")
}

### The operator

leader() { kubectl get lease "$release" --namespace "$operator" --output jsonpath='{.spec.holderIdentity}'; }

leadership_passes_on() { # from which pod
  local deadline=$((SECONDS + 15)) holder
  until holder=$(leader) && [[ -n $holder && $holder != "$1" ]]; do
    ((SECONDS < deadline)) || fail "the Lease is still held by ${holder:-nobody}, after the leader $1 is gone"
    sleep 0.1
  done
}

# Has CodePipeline take the next answer and say nothing, and returns once it has: the leader is in the middle of it then.
cut_off_an_answer() {
  local before deadline=$((SECONDS + 15))
  before=$(cut_off | wc --lines)
  curl --silent --show-error --fail --header 'content-type: application/json' "$AWS_ENDPOINT_URL/local/faults" \
    --data '{"operation": "PutApprovalResult", "requests": {"next": 1}, "effect": {"applied": "hang"}}' >/dev/null
  until (($(cut_off | wc --lines) > before)); do
    kill -0 "$streamer" 2>/dev/null || fail "the stream of decisions ended early"
    ((SECONDS < deadline)) || fail "no answer is sent that could be cut off"
    sleep 0.05
  done
}

cut_off() { ledger | jq --raw-output '.[] | select(.fault).pipelineName'; } # the pipelines whose answers were

what_was_cut_off_is_read_from_the_record() { # stream
  local name
  for name in $(cut_off | grep "^$1-"); do
    [[ -n $(kubectl get apd "$name" --output jsonpath='{.status.decidedBy}') ]] || fail "$name was not read from CodePipeline's record"
  done
}

# Of a pod in the node, which has containerd.
container() { kubectl get pod "$1" --namespace "$operator" --output jsonpath='{.status.containerStatuses[0].containerID}' | sed 's|.*/||'; }
signal() { ctr --namespace k8s.io tasks kill --signal "$@"; } # signal, container

# Ends a pod for good and at once. In a cluster without access to its nodes the process hears of it, and may give its Lease back.
crash() { # pod
  local container
  container=$(container "$1")
  # A process that is stopped does not hear kubelet's SIGTERM, and one that was killed before the pod is gone would come back.
  [[ -z ${NODE_FOLDER:-} ]] || signal SIGSTOP "$container"
  kubectl delete pod "$1" --namespace "$operator" --force --grace-period=0 2>/dev/null >&2
  [[ -z ${NODE_FOLDER:-} ]] || signal SIGKILL "$container"
}

replicas_are_ready() { # how many
  kubectl wait deployment "$release" --namespace "$operator" --for=jsonpath='{.status.readyReplicas}'="$1" --timeout=60s >/dev/null ||
    fail "there are not $1 ready replicas"
}
