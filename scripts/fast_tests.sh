#!/usr/bin/env bash
# Prints a regular expression for 'swift test --filter': the suites that start no process and read no large file. They are
# found by what their files use, so that no list goes out of date; SLOW names those that compute for long.
set -euo pipefail
cd "$(dirname "$0")/.."
processes='BuiltProgram|SpawnedProcess|Python\.|SparseModel|CommandServer|MutationCampaign|Process\('
slow='GateProof|FaultInjection|EveryTensor|Parity|AutoencoderDCStreaming'
git ls-files 'Tests/*Tests/*.swift' | xargs grep -LE "$processes" \
    | xargs grep -hoE '^(@Suite.* )?(final )?(struct|class|enum|actor) [A-Za-z0-9]+Tests\b' \
    | grep -oE '[A-Za-z0-9]+Tests$' | grep -vE "^($slow)Tests$" | sort -u | paste -sd'|' | sed 's/.*/(&)\//'
