#!/bin/sh
# What the image consists of: the wheel of this source and what it needs, in a virtual environment
# without pip. The Dockerfile runs this; so can you, on any machine with Python and pip.
#
#   sh deploy/container/build.sh /opt/poller
#
# Run it with the Python that the environment is to use; the environment is made at that path and
# cannot be moved.
set -eu

target=${1:?usage: build.sh TARGET}
source=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
    --wheel-dir "$work" "$source"
"$python" -m venv --without-pip "$target"
# read-only at run time: whatever is compiled is compiled now, which pip does
"$python" -m pip --python "$target/bin/python" install --quiet --disable-pip-version-check \
    --constraint "$source/constraints.txt" \
    "comms-poller[postgres] @ file://$(echo "$work"/comms_poller-*.whl)"
# links to Python stay, and of the commands our own
find "$target/bin" -type f ! -name poller ! -name comms-poller -delete

"$target/bin/poller" --version
