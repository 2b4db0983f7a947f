#!/bin/sh
# Grades /workspace and writes the verdict where Harbor looks for it: reward.json, and the single tests in ctrf.json and junit.xml.
# If grading itself fails there is no reward.json: that is no score, and never a score of 0.
#
# To try it outside of a container: REENACT_WORKSPACE, REENACT_LOGS and REENACT_BIN say where things are.
set -u
tests=$(cd "$(dirname "$0")" && pwd) || exit 3
workspace=${REENACT_WORKSPACE:-/workspace}
logs=${REENACT_LOGS:-/logs/verifier}
reenact=${REENACT_BIN:-$tests/bin/reenact}
task='@ID@'

mkdir -p "$logs" || exit 3
rm -f "$logs/reward.json" "$logs/reward.txt" "$logs/ctrf.json" "$logs/junit.xml"
if [ ! -d "$workspace" ]; then
    echo "$workspace: not there: the agent's work was not brought here" >&2
    exit 3
fi
run=$(mktemp -d) || exit 3
trap 'rm -rf "$run"' EXIT
mkdir -p "$run/run/$task" || exit 3
cp "$tests/run.toml" "$run/run/run.toml" || exit 3
# The original is not part of the work; grading would remove it anyhow.
tar -C "$workspace" --exclude=./executable -czf "$run/run/$task/submission.tar.gz" . || exit 3

"$reenact" --color never grade "$run/run" --tasks "$tests/task" --junit "$logs/junit.xml" --ctrf "$logs/ctrf.json"
graded=$?
"$reenact" --color never export reward "$run/run" "$task" -o "$logs/reward.json" || exit 3
cp "$run/run/$task/$task.reenact.json" "$logs/" || true
exit "$graded"
