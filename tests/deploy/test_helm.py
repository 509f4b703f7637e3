"""The chart, rendered by helm: the objects of deploy/kubernetes, and what its values change."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from poller import __version__
from tests.deploy.places import DEPLOY
from tests.deploy.test_kubernetes import VERSIONS

CHART = DEPLOY / "helm"
OWN_LABELS = {"app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"}
Objects = Mapping[str, dict[str, Any]]
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Return `helm(…)`; without one the tests are skipped, or fail where it is required."""
    beside = Path(sys.executable).with_name("helm")
    found = str(beside) if beside.exists() else shutil.which("helm")
    if found is None:
        if os.environ.get("POLLER_TEST_REQUIRE_HELM") == "1":
            pytest.fail("POLLER_TEST_REQUIRE_HELM is 1, but there is no helm")
        pytest.skip("no helm; tests/helm.sh brings it")
    home = tmp_path_factory.mktemp("helm")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [found, *arguments],
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def render(helm: Helm) -> Callable[..., Objects]:
    """Return `render(release, values…)`: the objects by kind."""

    def render_(release: str, *values: str) -> Objects:
        options = [word for value in values for word in ("--set", value)]
        done = helm("template", release, str(CHART), *options)
        assert done.returncode == 0, done.stderr
        return by_kind(done.stdout)

    return render_


def by_kind(text: str) -> Objects:
    """Read the documents of a file."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    found = {document["kind"]: document for document in documents}
    assert len(found) == len(documents)
    return found


def as_manifest(objects: Objects) -> Objects:
    """Take out what only a chart has: its labels, and the checksum of the configuration."""
    for each in objects.values():
        labels = each["metadata"]["labels"]
        assert labels.keys() >= OWN_LABELS
        for name in OWN_LABELS:
            del labels[name]
        template = each.get("spec", {}).get("template")
        if template is not None:
            assert template["metadata"].pop("annotations").keys() == {"checksum/config"}
    return objects


SETUPS = {"poller.yaml": (), "scaled.yaml": ("store=postgresql",)}


@pytest.mark.parametrize("file", SETUPS)
def test_it_renders_the_manifests(render: Callable[..., Objects], file: str) -> None:
    """Object for object, so that what is tested of the manifests holds for the chart."""
    manifests = by_kind((DEPLOY / "kubernetes" / file).read_text())
    release = manifests["ConfigMap"]["metadata"]["name"]
    rendered = as_manifest(render(release, *SETUPS[file]))
    assert rendered.keys() == manifests.keys()
    for kind, manifest in manifests.items():
        assert rendered[kind] == manifest, kind


def test_every_value_reaches_its_place(render: Callable[..., Objects]) -> None:
    """The schemas accept what comes of other values too."""
    found = render(
        "other",
        "store=postgresql",
        "replicas=5",
        "image.repository=example.com/poller",
        "image.tag=1.2.3",
        "image.pullPolicy=Always",
        "secretName=mine",
        "networkPolicy.databasePort=6432",
        "resources.limits.memory=1Gi",
        "terminationGracePeriodSeconds=90",
        "imagePullSecrets[0].name=pull",
        "nodeSelector.disk=fast",
        "tolerations[0].operator=Exists",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        ".nodeSelectorTerms[0].matchExpressions[0].key=a",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        ".nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
        "config=[log]",
    )
    for version in VERSIONS:
        for document in found.values():
            kubernetes_validate.validate(document, version, strict=True)
    spec = found["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["replicas"] == 5
    assert container["image"] == "example.com/poller:1.2.3"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    (secret,) = (each["secret"] for each in pod["volumes"] if each["name"] == "secrets")
    assert secret["secretName"] == "mine"
    assert pod["terminationGracePeriodSeconds"] == 90
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert "nodeAffinity" in pod["affinity"]
    ports = [rule["ports"] for rule in found["NetworkPolicy"]["spec"]["egress"] if "ports" in rule]
    assert [{"protocol": "TCP", "port": 6432}] in ports
    assert found["ConfigMap"]["data"]["poller.toml"].endswith("\n\n[log]\n")


def test_the_claim_and_the_policy_are_optional(render: Callable[..., Objects]) -> None:
    """Of a single poller: its size, its class, and no policy where the cluster has its own."""
    found = render(
        "x", "persistence.size=5Gi", "persistence.storageClass=fast", "networkPolicy.enabled=false"
    )
    (claim,) = found["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"] == {"storage": "5Gi"}
    assert "NetworkPolicy" not in found


def test_another_configuration_makes_other_pods(render: Callable[..., Objects]) -> None:
    """A changed poller.toml is in force after an upgrade, without a restart by hand."""
    before, after = (
        render("x", value)["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]
        for value in ("config=a=1", "config=a=2")
    )
    assert before != after


@pytest.mark.parametrize("value", ["store=mysql", "replicas=0", "image.tag=", "stoer=sqlite"])
def test_values_that_cannot_be_are_refused(helm: Helm, value: str) -> None:
    """Also a name that is misspelt."""
    done = helm("template", "x", str(CHART), "--set", value)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_helm_lint_finds_nothing(helm: Helm) -> None:
    """And the chart is of this version."""
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
