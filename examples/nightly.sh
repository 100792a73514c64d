#!/usr/bin/env bash
# One night: convert, verify, profile, judge, report. Runs in the folder of sana-tools.yaml.
# The last line, the exit code and the headline of the report say the same.
set -uo pipefail
cd "${SANA_PROJECT:-/srv/sana}" || exit 66
out=${SANA_REPORTS:-reports}
mkdir -p "$out"

worst=0
failed=()
step() {
    local name=$1 code=0
    shift
    "$@" || code=$?
    # Inconclusive (3) gives way to any failure.
    if [ "$code" -ne 0 ] && { [ "$worst" -eq 0 ] || [ "$worst" -eq 3 ]; }; then worst=$code; fi
    if [ "$code" -ne 0 ] && [ "$code" -ne 3 ]; then failed+=(--failed "$name (exit $code)"); fi
}

step convert sana-tools convert --force
# Latents that are pixels can be looked at: what each model sampled along the trajectory of sana-tools.yaml.
pictures=()
if grep -q '^trajectories:' sana-tools.yaml; then pictures=(--pictures "$out/samples.png"); fi
rm -f "$out/samples.png"
step verify sana-tools verify --junit "$out/verify.xml" --summary "${pictures[@]}"
step profile sana-tools profile
picture=()
if [ -s "$out/samples.png" ]; then picture=(--picture "$out/samples.png"); fi
step report sana-tools history report --output "$out/report.html" "${picture[@]}" "${failed[@]}"
# Last, so that its last line is the night's.
step gate sana-tools history gate "${failed[@]}"
exit "$worst"
