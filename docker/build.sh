#!/bin/sh
# Builds healthproxy:VERSION from docker/Dockerfile with what the machine has: docker, podman or buildah.
# usage: [TOOL=docker|podman|buildah] sh docker/build.sh [OPTION OF THAT TOOL'S BUILD]...
set -eu
cd "$(dirname "$0")/.."

works() { command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1; }
for tool in ${TOOL:-docker podman buildah} ""; do
    [ -n "$tool" ] || {
        echo "no image was built: ${TOOL:-neither docker nor podman nor buildah} works here; install podman or buildah, or start docker" >&2
        exit 1
    }
    if works "$tool"; then break; fi
done

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' healthproxy/__init__.py)
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
# All times in the image are those of the commit, so that the same commit gives the same image.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
case $tool in
docker) set -- build "$@" ;;
podman) set -- build --format docker --timestamp "$epoch" "$@" ;; # OCI's own format has no HEALTHCHECK
buildah) set -- build --format docker --timestamp "$epoch" "$@" ;;
esac
"$tool" "$@" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "SOURCE_DATE_EPOCH=$epoch" \
    --tag "healthproxy:$version" --file docker/Dockerfile .
echo "built healthproxy:$version with $tool"
