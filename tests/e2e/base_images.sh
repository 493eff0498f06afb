#!/bin/sh
# Stand-ins for the two images that docker/Dockerfile starts from, where no registry is to be had: Debian 13 with pip to build in,
# and what Debian's packages bring of what distroless puts into python3-debian13, to run in. Writes build.tar and run.tar.
# usage: sh base_images.sh DIRECTORY
set -eu
run="base-files gcc-14-base libbz2-1.0 libc6 libcom-err2 libcrypt1 libdb5.3t64 libexpat1 libffi8 libgcc-s1 libgomp1 libgssapi-krb5-2 \
libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 liblzma5 libncursesw6 libnsl2 libpython3.13-minimal libpython3.13-stdlib \
libreadline8t64 libsqlite3-0 libssl3t64 libstdc++6 libtinfo6 libtirpc3t64 libuuid1 libzstd1 media-types netbase python3.13-minimal \
python3.13-venv tzdata tzdata-legacy zlib1g"
# What no package brings: users, certificates, the cache of libraries, and the link that every script starts with.
more="./etc/passwd ./etc/group ./etc/nsswitch.conf ./etc/ld.so.cache ./etc/ssl/certs/ca-certificates.crt ./home/nonroot ./usr/bin/python3"
export out="$1" run more
# shellcheck disable=SC2016 # $1 is the hook's: the root
mmdebstrap --quiet --variant=apt --include="python3-pip ca-certificates $run" \
    --customize-hook='echo "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin" >>"$1/etc/passwd"' \
    --customize-hook='echo "nonroot:x:65532:" >>"$1/etc/group" && install -d -o 65532 -g 65532 -m 700 "$1/home/nonroot"' \
    --customize-hook='chroot "$1" dpkg -L $run | sed "s,^/,./," | grep -Ev "^./usr/share/(man|locale|bug|lintian)/" | sort -u >"$out/files"' \
    --customize-hook='printf "%s\n" $more >>"$out/files"' \
    --customize-hook='tar --directory "$1" --no-recursion --create --file "$out/run.tar" --files-from "$out/files"' \
    trixie "$out/build.tar"
