#!/bin/sh
# The committed files are what the sources make: built anew beside them, and compared byte by byte.
set -eu
cd "$(dirname "$0")/.."
anew=$(mktemp -d)
trap 'rm -rf "$anew"' EXIT
npx tsc
npx vite build --logLevel warn --outDir "$anew" --emptyOutDir
diff -r "$anew" dist >/dev/null || {
  echo "console/dist is not what console/src makes: run 'npm run build' in console/ and commit it" >&2
  diff -rq "$anew" dist >&2
  exit 1
}
