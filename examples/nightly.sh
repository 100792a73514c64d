#!/usr/bin/env bash
# One night: convert, verify, profile, judge, report. Runs in the folder of sana-tools.yaml.
set -uo pipefail
cd "${SANA_PROJECT:-/srv/sana}" || exit 66
out=${SANA_REPORTS:-reports}
mkdir -p "$out"

worst=0
step() {
    "$@"
    local code=$?
    # Inconclusive (3) is shown in the report and stops nobody.
    if [ "$code" -ne 0 ] && [ "$code" -ne 3 ] && [ "$worst" -eq 0 ]; then worst=$code; fi
}

step sana-tools convert --force
step sana-tools verify --junit "$out/verify.xml" --summary
step sana-tools profile --repeat 20
step sana-tools history gate
step sana-tools history report --output "$out/report.html"
exit "$worst"
