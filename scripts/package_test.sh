#!/usr/bin/env bash
# Installs a .deb into a fresh Debian root without Swift, and converts, verifies and profiles there (make package-test).
# Needs root and debootstrap; BASE names a root that debootstrap has made before.
set -euo pipefail
cd "$(dirname "$0")/.."

deb=${1:?usage: package_test.sh DEB}
suite=${SUITE:-bookworm}
mirror=${MIRROR:-http://deb.debian.org/debian}
root=$(mktemp -d)
trap 'umount --quiet "$root/proc" || true; rm -rf --one-file-system "$root"' EXIT
chmod 755 "$root"

if [ -n "${BASE:-}" ]; then
    cp --archive "$BASE/." "$root/"
else
    echo "package-test: debootstrap $suite"
    debootstrap --variant=minbase "$suite" "$root" "$mirror" > "$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
    rm -f "$root.log"
fi
# apt's own user reads it.
install -m 644 "$deb" "$root/tmp/sana-tools.deb"
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
mount -t proc proc "$root/proc"
# No services are started in a chroot.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d" && chmod 755 "$root/usr/sbin/policy-rc.d"
echo "package-test: apt-get install"
inside apt-get update --quiet=2
inside apt-get install --yes --quiet=2 --no-install-recommends /tmp/sana-tools.deb > /dev/null

if inside sh -c 'command -v swift || ls /usr/lib/swift'  > /dev/null 2>&1; then
    echo "package-test: the root has Swift" >&2
    exit 1
fi
mkdir -p "$root/work/fixtures/goldens"
cp -r fixtures/sana-digits "$root/work/fixtures/"
cp fixtures/goldens/sana-digits-*.safetensors "$root/work/fixtures/goldens/"
cp sana-tools.yaml "$root/work/"
inside sh -ec '
    cd /work
    # The number and the commit.
    sana-tools --version | grep -xE "[0-9.]+ \([0-9a-f]{12}(-dirty)?\)"
    sana-tools convert | tail -n 1
    sana-tools verify --summary | tail -n 1
    sana-tools profile --repeat 3 | head -n 1
    sana-tools doctor
    sana-tools history gate | tail -n 1
    test -s /usr/share/man/man1/sana-tools.1.gz
    test -s /usr/share/bash-completion/completions/sana-tools
    test -s /lib/systemd/system/sana-tools.timer
    test -s /usr/share/doc/sana-tools/examples/nightly.sh
    # The page that a hint names.
    page=$(sana-tools inspect nobody/nothing 2>&1 | sed -n "s/.*(see \(.*\)#.*/\1/p")
    test -f "/usr/share/doc/sana-tools/$page"'
inside apt-get purge --yes --quiet=2 sana-tools > /dev/null
if [ -e "$root/usr/bin/sana-tools" ]; then
    echo "package-test: purging left the program" >&2
    exit 1
fi
echo "package-test: passed"
