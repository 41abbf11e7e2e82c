#!/usr/bin/env bash
# Runs the fault-injection, model-checking and fuzz tests at full scale, one part at a time, and prints a summary. Arguments
# select parts: hack/faults.sh requests
set -euo pipefail
cd "$(dirname "$0")/.."

# Name, what it searches, and the arguments of its `cargo test`.
parts=(
  "model|every state of small models, and mutants of decide|--package simulation --lib model_check"
  "requests|a crash and a disconnect at every request|--package approval-operator --test it faults::every_request"
  "api-server|an API server that lags, fails or sends wrong events|--package approval-operator --test it faults::api_server"
  "operators|two operators at once|--package approval-operator --test it faults::two_operators"
  "resources|generated resources|--package approval-operator --test it fuzz"
  "responses|generated responses of CodePipeline|--package approval-operator --lib codepipeline::client::tests"
  "seeds|generated seed files|--package local-codepipeline --lib seed::properties"
  "commands|generated commands to the local endpoint|--package local-codepipeline --test it command_properties"
  "soak|a load with random faults, for several minutes|--package approval-operator --test it faults::soak"
)

export FAULTS=all
results=target/faults
mkdir -p "$results"
cargo test --workspace --no-run

failed=0
rows=()
for part in "${parts[@]}"; do
  IFS='|' read -r name what arguments <<<"$part"
  [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
  printf '\n== %s: %s\n' "$name" "$what"
  started_at=$SECONDS
  # shellcheck disable=SC2086 # several arguments
  if cargo test --quiet $arguments -- --nocapture --test-threads=2 2>&1 | tee "$results/$name.log"; then
    outcome=passed
  else
    outcome=FAILED failed=1
  fi
  rows+=("$(printf '%-10s %-7s %5d s  %s' "$name" "$outcome" $((SECONDS - started_at)) "$what")")
  # The figures that the tests report.
  while read -r line; do rows+=("             $line"); done < <(sed -n 's/^\.*FIGURE //p' "$results/$name.log")
done

printf '\n== Summary\n'
printf '%s\n' "${rows[@]}"
exit "$failed"
