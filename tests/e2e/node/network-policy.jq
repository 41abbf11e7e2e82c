# Converts pods, namespaces and NetworkPolicies into rules for iptables-restore. Each pod and direction that a policy selects has a
# chain: packets that return from it are accepted. An unsupported field is an error, so that it is not silently ignored.

def selects($labels):
  if .matchExpressions then error("matchExpressions are not enforced on this node") else . end |
  all((.matchLabels // {}) | to_entries[]; $labels[.key] == .value);

.items as $items |
[$items[] | select(.kind == "NetworkPolicy")] as $policies |
[$items[] | select(.kind == "Pod" and .status.podIP and .spec.hostNetwork != true and
  (.status.phase | . == "Running" or . == "Pending"))] as $pods |
($items | map(select(.kind == "Namespace") | {key: .metadata.name, value: .metadata.labels}) | from_entries) as $namespaces |

def addresses($namespace):
  . as $peer |
  if .ipBlock.except then error("ipBlock.except is not enforced on this node")
  elif .ipBlock then .ipBlock.cidr | select(contains(":") | not)
  else
    $pods[] | select(.metadata as $pod |
      ($peer.podSelector // {} | selects($pod.labels // {})) and
      if $peer.namespaceSelector then $peer.namespaceSelector | selects($namespaces[$pod.namespace])
      else $pod.namespace == $namespace end) | .status.podIP
  end;

# A named port resolves to the ports with that name: of the pod itself for ingress, of all pods for egress.
def ports($targets):
  if .endPort then error("endPort is not enforced on this node") else . end |
  "-p \(.protocol // "TCP" | ascii_downcase)" as $protocol |
  .port as $port |
  if $port == null then $protocol
  elif $port | type == "number" then "\($protocol) --dport \($port)"
  else [$targets[].spec.containers[].ports[]? | select(.name == $port) | .containerPort] | unique[] | "\($protocol) --dport \(.)"
  end;

def chain($pod; $direction; $side; $peers; $other):
  "POLICY-\($direction)-\($pod.status.podIP)" as $chain |
  [$policies[] | select(.metadata.namespace == $pod.metadata.namespace and (.spec.policyTypes | index($direction)) and
    (.spec.podSelector | selects($pod.metadata.labels // {})))] |
  select(length > 0) |
  ":\($chain) - [0:0]",
  "-A NETWORK-POLICY \($side) \($pod.status.podIP) -j \($chain)",
  (.[] | .metadata.namespace as $namespace | .spec[$direction | ascii_downcase][]? |
    ([.[$peers][]? | addresses($namespace) | "\($other) \(.)"] as $found | if .[$peers] then $found[] else "" end) as $peer |
    (if .ports then .ports[] | ports(if $direction == "Ingress" then [$pod] else $pods end) else "" end) as $port |
    "-A \($chain) \($peer) \($port) -j RETURN"),
  "-A \($chain) -j REJECT";

[ "-A NETWORK-POLICY -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
  ($pods[] | chain(.; "Egress"; "-s"; "to"; "-d"), chain(.; "Ingress"; "-d"; "from"; "-s")) ] |
# Chains must be declared before rules refer to them.
"*filter", ":NETWORK-POLICY - [0:0]", (.[] | select(startswith(":"))), (.[] | select(startswith("-"))), "COMMIT"
