#!/bin/sh
# Builds the content of the image: the wheel of this source and its dependencies, in a virtual
# environment without pip. The Dockerfile runs it; you can as well, with Python and pip.
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
# the image is read-only at run time, so everything is compiled now, by pip
"$python" -m pip --python "$target/bin/python" install --quiet --disable-pip-version-check \
    --constraint "$source/constraints.txt" \
    "comms-poller[postgres] @ file://$(echo "$work"/comms_poller-*.whl)"
# keep the links to Python, and of the commands only our own
find "$target/bin" -type f ! -name poller ! -name comms-poller -delete

"$target/bin/poller" --version
