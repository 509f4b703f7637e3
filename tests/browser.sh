#!/bin/sh
# Make sure that a Chromium is there for the tests of the page: `make slow` and CI call this.
#
# Where none is found: installs Debian's package if it may, else says why not, which is no error
# unless POLLER_TEST_REQUIRE_BROWSER=1. POLLER_TEST_BROWSER names another program.
set -eu

without() {
    echo "browser.sh: no Chromium: $1" >&2
    [ "${POLLER_TEST_REQUIRE_BROWSER:-}" = 1 ] && exit 1
    echo "browser.sh: the tests of the page are skipped" >&2
    exit 0
}

[ -n "${POLLER_TEST_BROWSER:-}" ] && echo "$POLLER_TEST_BROWSER" && exit 0
command -v chromium && exit 0
command -v apt-get >/dev/null 2>&1 || without "there is no apt-get, install chromium by hand"
[ "$(id -u)" = 0 ] || without "installing it needs root (apt-get install chromium)"

export DEBIAN_FRONTEND=noninteractive
{
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium
} >&2 || without "apt-get could not install it"
command -v chromium
