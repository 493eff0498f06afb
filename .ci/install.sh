#!/bin/sh
# Installs from Debian the programs named as PROGRAM:PACKAGE, when run as root; else says what is missing. Starts no service.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
missing=""
for wanted in "$@"; do
    command -v "${wanted%%:*}" >/dev/null 2>&1 || missing="$missing ${wanted#*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    for package in $missing; do
        echo "not installed, for that takes root and apt-get: $package; what needs it is left out"
    done
    exit 0
fi

guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then # Debian asks it before a package may start its service; 101 is no
    trap 'rm -f "$guard"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
# shellcheck disable=SC2086 # a list of words
apt-get install --quiet --quiet --yes --no-install-recommends $missing
