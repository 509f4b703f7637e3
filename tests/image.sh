#!/bin/sh
# Make sure that the tools which build an image without an engine are there: `make image-test` and CI
# call this.
#
# Where one is missing: installs Debian's packages if it may, else says why not. Then the tests of the
# image are skipped, which is no error unless POLLER_TEST_REQUIRE_IMAGE=1.
set -eu

without() {
    echo "image.sh: no buildah and mmdebstrap: $1" >&2
    [ "${POLLER_TEST_REQUIRE_IMAGE:-}" = 1 ] && exit 1
    echo "image.sh: the tests of the image are skipped" >&2
    exit 0
}

[ "$(id -u)" = 0 ] || without "building needs root"
command -v buildah >/dev/null 2>&1 && command -v mmdebstrap >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || without "there is no apt-get, install them by hand"

export DEBIAN_FRONTEND=noninteractive
{
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends buildah mmdebstrap
} >&2 || without "apt-get could not install them"
