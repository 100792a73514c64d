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
# Latents that are pixels can be looked at: what each model sampled along the trajectory of sana-tools.yaml.
pictures=()
if grep -q '^trajectories:' sana-tools.yaml; then pictures=(--pictures "$out/samples.png"); fi
rm -f "$out/samples.png"
step sana-tools verify --junit "$out/verify.xml" --summary "${pictures[@]}"
step sana-tools profile --repeat 20
step sana-tools history gate
picture=()
if [ -s "$out/samples.png" ]; then picture=(--picture "$out/samples.png"); fi
step sana-tools history report --output "$out/report.html" "${picture[@]}"
exit "$worst"
