#!/usr/bin/env bash
# Runs at their full scale the tests that search for what breaks the promise, a part at a time, and sums them up. A part is
# named with an argument to run it alone: tests/faults.sh requests
set -euo pipefail
cd "$(dirname "$0")/.."

# Name, what it does, and the arguments of its `cargo test`.
parts=(
  "model|every state of small worlds, and mutants of decide|--package approval-operator --lib decision::decide::model"
  "requests|a crash and a cut at every request|--package approval-operator --test it faults::every_request"
  "views|a view that is stale or lies|--package approval-operator --test it faults::views"
  "operators|two operators at once|--package approval-operator --test it faults::two_operators"
  "resources|generated resources|--package approval-operator --test it unruly"
  "answers|generated answers of the service|--package approval-operator --lib codepipeline::client::answers"
  "seeds|generated seed files|--package local-codepipeline --lib seed::properties"
  "commands|generated commands to the local endpoint|--package local-codepipeline --test control"
  "soak|a load with random faults, for some minutes|--package approval-operator --test it faults::soak"
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
  begun=$SECONDS
  # shellcheck disable=SC2086 # they are several
  if cargo test --quiet $arguments -- --nocapture --test-threads=2 2>&1 | tee "$results/$name.log"; then
    verdict=held
  else
    verdict=BROKEN failed=1
  fi
  rows+=("$(printf '%-10s %-7s %5d s  %s' "$name" "$verdict" $((SECONDS - begun)) "$what")")
  # What tests say of what they did.
  while read -r line; do rows+=("             $line"); done < <(sed -n 's/^\.*FIGURE //p' "$results/$name.log")
done

printf '\n== In all\n'
printf '%s\n' "${rows[@]}"
exit "$failed"
