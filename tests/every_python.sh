#!/bin/sh
# Runs `make test` on every CPython from 3.11 that this machine has: those on PATH and those that pyenv keeps.
set -eu
seen=" "
for python in $(for minor in 11 12 13 14 15; do command -v "python3.$minor" || true; done) \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 11) else "")' 2>/dev/null) || continue
    [ -n "$version" ] || continue
    "$python" -c 'import ensurepip' 2>/dev/null || continue
    case "$seen" in *" $version "*) continue ;; esac
    seen="$seen$version "
    echo "== Python $version"
    make --no-print-directory test PYTHON="$python" VENV=".venv-$version"
done
[ "$seen" != " " ] || { echo "no Python from 3.11 found"; exit 1; }
echo "== passed on:$seen"
