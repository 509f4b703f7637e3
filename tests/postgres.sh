#!/bin/sh
# Make sure that PostgreSQL and PgBouncer are there for the tests to start: `make test` and CI call
# this.
#
# Prints where the programs of the server are. Where one of the two is missing: installs Debian's
# packages if it may, else says why not, which is an error only with POLLER_TEST_REQUIRE_POSTGRES=1.
# The tests start a private cluster themselves (tests/store/cluster.py); no system service is
# started or used.
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

find_pooler() {
    command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ]
}

without() {
    missing=PgBouncer
    find_server >/dev/null || missing="PostgreSQL server"
    echo "postgres.sh: no $missing: $1" >&2
    [ "${POLLER_TEST_REQUIRE_POSTGRES:-}" = 1 ] && exit 1
    echo "postgres.sh: the tests that need one are skipped" >&2
    find_server || :
    exit 0
}

find_pooler && find_server && exit 0
command -v apt-get >/dev/null 2>&1 || without "there is no apt-get, install initdb, pg_ctl and pgbouncer by hand"
[ "$(id -u)" = 0 ] || without "installing it needs root (apt-get install postgresql pgbouncer)"

export DEBIAN_FRONTEND=noninteractive
{
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends postgresql-common
    # the tests want the programs, not a service
    sed -i 's/^#*create_main_cluster *=.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf
    apt-get install -y -qq --no-install-recommends postgresql pgbouncer
} >&2 || without "apt-get could not install it"

find_pooler || without "the package brought no pgbouncer"
find_server || without "the package brought no initdb"
