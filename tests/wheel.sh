#!/bin/sh
# Builds the wheel, installs it with the locked dependencies into an empty environment and runs its commands there.
# usage: sh tests/wheel.sh PYTHON
set -eu
rm -rf dist
"$1" -m build --wheel --no-isolation --outdir dist . >/dev/null
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
"$1" -m venv "$empty"
"$empty/bin/python" -m pip --disable-pip-version-check --quiet --quiet install --require-hashes --requirement requirements.txt
"$empty/bin/python" -m pip --disable-pip-version-check --quiet --quiet install --no-deps dist/*.whl
"$empty/bin/python" -m pip check
cd "$empty"
bin/healthproxy --version
bin/python -m healthproxy --check-config >/dev/null
test -f lib/python*/site-packages/healthproxy/py.typed
echo "wheel: $(ls "$OLDPWD"/dist)"
