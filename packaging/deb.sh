#!/bin/sh
# Builds a Debian package of a binary: packaging/deb.sh [BINARY [FOLDER]]. Without a binary, one is built for release.
#
# Made with dpkg-deb alone, so that it needs nothing that is not on every Debian machine. It installs the binary, the
# unit, an example of a config, completions and the documentation; it starts nothing, since there is nothing to run before
# somebody has written a config.
set -eu
cd "$(dirname "$0")/.."
folder=${2:-target/debian}
binary=${1:-}
if [ -z "$binary" ]; then
  cargo build --release --locked -p tandem
  binary=${CARGO_TARGET_DIR:-target}/release/tandem
fi
version=$("$binary" version -o json | sed -n 's/.*"version": "\([^"]*\)".*/\1/p')
architecture=$(dpkg --print-architecture)
mkdir -p "$folder"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

install -D -m 755 "$binary" "$root/usr/bin/tandem"
strip --strip-debug "$root/usr/bin/tandem"
install -D -m 644 packaging/tandem.service "$root/lib/systemd/system/tandem.service"
install -D -m 644 packaging/tandem.toml "$root/etc/tandem/tandem.toml"
install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
  "$root/usr/share/fish/vendor_completions.d"
"$binary" completion bash > "$root/usr/share/bash-completion/completions/tandem"
"$binary" completion zsh > "$root/usr/share/zsh/vendor-completions/_tandem"
"$binary" completion fish > "$root/usr/share/fish/vendor_completions.d/tandem.fish"
install -d "$root/usr/share/doc/tandem"
install -m 644 README.md docs/*.md "$root/usr/share/doc/tandem/"
install -m 644 LICENSE "$root/usr/share/doc/tandem/copyright"
"$binary" schema > "$root/usr/share/doc/tandem/tandem.schema.json"

install -d "$root/DEBIAN"
echo /etc/tandem/tandem.toml > "$root/DEBIAN/conffiles"
# The unit's user comes and goes with the service, so the config is readable for everybody and holds no secret: those stand
# in the environment file, which only root reads.
cat > "$root/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ ! -e /etc/tandem/environment ]; then
  (umask 077 && : > /etc/tandem/environment)
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
SCRIPT
cat > "$root/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now tandem.service || true; fi
SCRIPT
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
cat > "$root/DEBIAN/control" <<CONTROL
Package: tandem
Version: $version
Architecture: $architecture
Maintainer: The Tandem authors <tandem@localhost>
Section: database
Priority: optional
Depends: libc6 (>= 2.36), libgcc-s1
Suggests: postgresql-client
Installed-Size: $(du -sk "$root" | cut -f1)
Description: Keeps the records of two databases in step
 Tandem follows the log of each database and writes its changes to the other.
 Either one can be taken down for maintenance: changes wait in a queue of
 Tandem's own and are caught up with, none lost, none doubled, all in order.
CONTROL
dpkg-deb -Z"${COMPRESSION:-xz}" --root-owner-group --build "$root" "$folder/tandem_${version}_$architecture.deb"
