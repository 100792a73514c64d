#!/usr/bin/env bash
# Nightly job for cron: runs 'sana-tools nightly' in the directory of sana-tools.yaml and keeps its summary with the date.
# Exits with the code of 'nightly': 0 success, 1 a check failed, 3 inconclusive, 64 and above a step could not be run.
set -uo pipefail
cd "${SANA_PROJECT:-/srv/sana}" || exit 66
reports=${SANA_REPORTS:-reports}
mkdir -p "$reports"

code=0
sana-tools nightly --output "$reports" > "$reports/night.txt" || code=$?
cat "$reports/night.txt"
{ date --utc +%Y-%m-%dT%H:%M:%SZ; cat "$reports/night.txt"; echo; } >> "$reports/nights.txt"
exit "$code"
