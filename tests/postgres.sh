#!/bin/sh
# Make sure that PostgreSQL and PgBouncer are there for the tests to start: `make test` and CI call
# this.
#
# Prints where its programs are. Where none is found: installs Debian's package if it may, else says
# why not, which is no error unless POLLER_TEST_REQUIRE_POSTGRES=1. The tests start a private
# cluster themselves (tests/store/cluster.py); no system service is started or used.
set -eu

find_server() {
    if command -v initdb >/dev/null 2>&1 && command -v pg_ctl >/dev/null 2>&1; then
        dirname "$(command -v initdb)"
        return
    fi
    newest=
    for directory in /usr/lib/postgresql/*/bin; do
        [ -x "$directory/initdb" ] && newest=$directory
    done
    [ -n "$newest" ] && echo "$newest"
}

without() {
    echo "postgres.sh: no PostgreSQL server: $1" >&2
    [ "${POLLER_TEST_REQUIRE_POSTGRES:-}" = 1 ] && exit 1
    echo "postgres.sh: the tests that need one are skipped" >&2
    exit 0
}

# behind a pooler the store must work as well; without one its tests are skipped
find_pooler() {
    command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ]
}

find_pooler && find_server && exit 0
if [ "$(id -u)" != 0 ] && find_server; then
    echo "postgres.sh: no pgbouncer: the tests that need it are skipped" >&2
    exit 0
fi
command -v apt-get >/dev/null 2>&1 || without "there is no apt-get, install initdb and pg_ctl by hand"
[ "$(id -u)" = 0 ] || without "installing it needs root (apt-get install postgresql)"

export DEBIAN_FRONTEND=noninteractive
{
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends postgresql-common
    # the tests want the programs, not a service
    sed -i 's/^#*create_main_cluster *=.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf
    apt-get install -y -qq --no-install-recommends postgresql pgbouncer
} >&2 || without "apt-get could not install it"

find_server || without "the package brought no initdb"
