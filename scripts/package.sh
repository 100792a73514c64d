#!/usr/bin/env bash
# Makes .build/dist/sana-tools_VERSION_ARCH.deb and sana-tools-VERSION-linux-ARCH.tar.xz of a program whose Swift runtime is
# linked statically (make package). The same commit, toolchain and system libraries give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${1:?usage: package.sh BINARY MANUAL}
manual=${2:?usage: package.sh BINARY MANUAL}
version=$(sed -n 's/.*static let number = "\(.*\)"/\1/p' Sources/SanaWorkbench/Support/ToolVersion.swift)
arch=$(dpkg --print-architecture)
dist=.build/dist
root=.build/package-root
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C.UTF-8
umask 022

rm -rf "$root"
mkdir -p "$dist"
install -D -m 755 "$binary" "$root/usr/bin/sana-tools"
# The hash is of the compiler's options, some of which are paths, and only compilers read it.
strip --strip-all --remove-section=.swift_modhash --remove-section=.note.gnu.build-id "$root/usr/bin/sana-tools"
if readelf -d "$root/usr/bin/sana-tools" | grep -E 'NEEDED.*lib(swift|Foundation)'; then
    echo "package: the Swift runtime is not linked statically" >&2
    exit 1
fi

share=$root/usr/share
install -d "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d" \
    "$share/man/man1" "$share/doc/sana-tools/examples" "$root/lib/systemd/system"
"$binary" --generate-completion-script bash > "$share/bash-completion/completions/sana-tools"
"$binary" --generate-completion-script zsh > "$share/zsh/vendor-completions/_sana-tools"
"$binary" --generate-completion-script fish > "$share/fish/vendor_completions.d/sana-tools.fish"
for page in "$manual"/*.1; do gzip -9n < "$page" > "$share/man/man1/$(basename "$page").gz"; done
# Hints name pages of docs/.
install -m 644 README.md "$share/doc/sana-tools/README.md"
git ls-files docs | while read -r page; do install -D -m 644 "$page" "$share/doc/sana-tools/$page"; done
install -m 644 examples/* "$share/doc/sana-tools/examples/"
gzip -9n < CHANGELOG.md > "$share/doc/sana-tools/changelog.gz"
install -m 644 packaging/copyright "$share/doc/sana-tools/copyright"
install -m 644 examples/sana-tools.service examples/sana-tools.timer "$root/lib/systemd/system/"

# OpenBLAS is loaded when something is multiplied with it, which the linker does not see.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/debian"
printf 'Source: sana-tools\n\nPackage: sana-tools\nArchitecture: %s\n' "$arch" > "$work/debian/control"
cp "$root/usr/bin/sana-tools" "$work/"
depends=$(cd "$work" && dpkg-shlibdeps -O sana-tools 2>/dev/null | sed -n 's/^shlibs:Depends=//p')

tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --transform "s,^\./,sana-tools-$version/," --directory "$root/usr" --create ./bin ./share \
    | xz --threads=1 --x86 --lzma2=preset=9e > "$dist/sana-tools-$version-linux-$arch.tar.xz"

install -d "$root/DEBIAN"
cat > "$root/DEBIAN/control" <<END
Package: sana-tools
Version: $version
Architecture: $arch
Maintainer: sana-tools maintainers <sana-tools@localhost>
Section: science
Priority: optional
Installed-Size: $(find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print int((sum + 1023) / 1024) }')
Depends: $depends, libopenblas0
Suggests: python3
Description: inspect, convert, verify and profile Sana checkpoints
 A command-line workbench for checkpoints of Sana, the linear-attention
 text-to-image transformer. It checks that a checkpoint is whole, converts
 it to fp16 or int8, compares every layer with what diffusers computed, and
 finds slowdowns, on any CPU and without PyTorch.
END
find "$root" -print0 | xargs -0 touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
dpkg-deb --root-owner-group -Zxz -z9 -Sextreme --threads-max=1 --build "$root" "$dist/sana-tools_${version}_$arch.deb" > /dev/null

limit=15000000
for file in "$dist/sana-tools_${version}_$arch.deb" "$dist/sana-tools-$version-linux-$arch.tar.xz"; do
    size=$(stat --format %s "$file")
    echo "$file  $size bytes  $(sha256sum "$file" | cut -d' ' -f1)"
    if [ "$size" -gt "$limit" ]; then
        echo "package: $file is larger than $limit bytes" >&2
        exit 1
    fi
done
