#!/usr/bin/env bash
# Prints the line coverage of each folder of Sources after 'swift test --enable-code-coverage' (make coverage).
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${1:?usage: coverage.sh SCRATCH-PATH}
json=$(find "$scratch" -name 'sana-tools.json' -path '*codecov*' | head -n 1)
python3 - "$json" <<'END'
import collections, json, os, sys

folders = collections.defaultdict(lambda: [0, 0])
for file in json.load(open(sys.argv[1]))["data"][0]["files"]:
    path = os.path.relpath(file["filename"])
    if path.startswith("Sources/"):
        lines = file["summary"]["lines"]
        for key in ("/".join(path.split("/")[:3]) if path.count("/") > 2 else os.path.dirname(path), "all"):
            folders[key][0] += lines["covered"]
            folders[key][1] += lines["count"]
for folder, (covered, count) in sorted(folders.items()):
    print(f"{folder:45} {covered:6} of {count:6} lines  {100 * covered / max(1, count):5.1f} %")
END
