#!/usr/bin/env bash
# One night, for cron: 'sana-tools nightly' in the folder of sana-tools.yaml, its summary kept with the date.
# Its exit code is that of the night: 0 good, 1 a check failed, 3 inconclusive, 64 and more a step could not be done.
set -uo pipefail
cd "${SANA_PROJECT:-/srv/sana}" || exit 66
reports=${SANA_REPORTS:-reports}
mkdir -p "$reports"

code=0
sana-tools nightly --output "$reports" > "$reports/night.txt" || code=$?
cat "$reports/night.txt"
{ date --utc +%Y-%m-%dT%H:%M:%SZ; cat "$reports/night.txt"; echo; } >> "$reports/nights.txt"
exit "$code"
