"""The manifests against Kubernetes' schemas, and against what the poller needs of them."""

import base64
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from poller.build import make_sink
from poller.engine import dispatcher, poll_loop
from poller.settings import Settings, WebhookSinkSettings, load_settings
from tests.deploy.dockerfile import stages
from tests.deploy.places import DEPLOY, ROOT

MANIFESTS = DEPLOY / "kubernetes"
BIN = Path(sys.executable).parent
VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""The oldest that knows native sidecars without a feature gate, and the newest."""

PROBES = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
WORKLOADS = ("StatefulSet", "Deployment")
PLACE = "://poller:made-up@database/poller"
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One file: its objects by kind, and the settings that its poller would load."""

    objects: Mapping[str, Document]
    settings: Settings

    @property
    def workload(self) -> Document:
        """The StatefulSet or the Deployment."""
        (found,) = (self.objects[kind] for kind in WORKLOADS if kind in self.objects)
        spec: Document = found["spec"]
        return spec

    @property
    def pod(self) -> Document:
        """The pod that it makes."""
        found: Document = self.workload["template"]["spec"]
        return found

    @property
    def containers(self) -> list[Document]:
        """All containers of the pod."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def poller(self) -> Document:
        """The container that is the poller."""
        (found,) = (each for each in self.containers if each["name"] == "poller")
        return found


def secrets(name: str) -> list[str]:
    """Name the members of the Secret of that name, as deploy/README.md makes it."""
    (command,) = re.findall(
        rf"kubectl create secret generic {name} ((?:.*\\\n)+.*\n)",
        (DEPLOY / "README.md").read_text(),
    )
    return re.findall(r"--from-literal=(\w+)=", command)


@pytest.fixture(params=["poller.yaml", "sidecar.yaml", "scaled.yaml"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Manifest:
    """Read a file, and load its settings as its poller would."""
    documents = list(yaml.safe_load_all((MANIFESTS / request.param).read_text()))
    objects = {document["kind"]: document for document in documents}
    assert len(objects) == len(documents)
    config = tmp_path / "poller.toml"
    config.write_text(objects["ConfigMap"]["data"]["poller.toml"])
    values = {
        "poller_sinks__app__secret": "whsec_" + base64.b64encode(bytes(32)).decode(),
        "poller_store__url": f"postgresql{PLACE}",
    }
    for name in secrets(_secret_of(objects)):
        (tmp_path / name).write_text(values.get(name, "made-up-0123456789"))
    # a container starts with what its image sets
    image = stages(DEPLOY / "container/Dockerfile")[-1].environment
    environ = {**image, "POLLER_SECRETS_DIR": str(tmp_path)}
    settings = load_settings(config=config, overrides=(), environ=environ).settings
    return Manifest(objects=objects, settings=settings)


def _secret_of(objects: Mapping[str, Document]) -> str:
    return "comms-poller-scaled" if "Deployment" in objects else "comms-poller"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_accept_every_object(manifest: Manifest, version: str) -> None:
    """Nothing is misspelt: unknown members are refused."""
    for document in manifest.objects.values():
        kubernetes_validate.validate(document, version, strict=True)


def test_yamllint_finds_nothing() -> None:
    """The files read well."""
    rules = ROOT / "tests/deploy/yamllint.yaml"
    done = subprocess.run(
        [BIN / "yamllint", "--strict", "-c", rules, MANIFESTS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_secret_has_what_is_needed(manifest: Manifest) -> None:
    """What the page makes fills every secret setting, and the pod mounts it as files."""
    manifest.settings.api.require_credentials()
    assert manifest.settings.server.token is not None
    hooks = [
        sink for sink in manifest.settings.sinks.values() if isinstance(sink, WebhookSinkSettings)
    ]
    assert hooks
    assert all(hook.secret is not None for hook in hooks)
    variables = {each["name"]: each["value"] for each in manifest.poller["env"]}
    mounted = {each["mountPath"]: each["name"] for each in manifest.poller["volumeMounts"]}
    volumes = {each["name"]: each for each in manifest.pod["volumes"]}
    secret = volumes[mounted[variables["POLLER_SECRETS_DIR"]]]["secret"]
    assert secret["secretName"] == _secret_of(manifest.objects)
    config = volumes[mounted[str(Path(variables["POLLER_CONFIG"]).parent)]]["configMap"]
    assert config["name"] == manifest.objects["ConfigMap"]["metadata"]["name"]


def test_the_state_outlives_the_pod(manifest: Manifest) -> None:
    """The store lies in a claim of the StatefulSet, or in a database that several pollers share."""
    if "Deployment" in manifest.objects:
        assert manifest.settings.store.url.get_secret_value().endswith(PLACE)
        assert manifest.workload["replicas"] == 3
        assert {each["name"] for each in manifest.pod["volumes"]} == {"config", "secrets", "tmp"}
        return
    (claim,) = manifest.workload["volumeClaimTemplates"]
    mounted = {each["name"]: each["mountPath"] for each in manifest.poller["volumeMounts"]}
    place = mounted[claim["metadata"]["name"]]
    url = manifest.settings.store.url.get_secret_value()
    assert url == f"sqlite:///{place}/poller.db"
    assert manifest.workload["replicas"] == 1


def test_the_probes_ask_what_never_needs_a_token(manifest: Manifest) -> None:
    """They are routes of the observe listener, which every address of the pod has."""
    ports = {each["name"]: each["containerPort"] for each in manifest.poller["ports"]}
    assert manifest.settings.server.observe == f"0.0.0.0:{ports['observe']}"
    asked = {name: manifest.poller[f"{name}Probe"]["httpGet"] for name in PROBES}
    assert asked == {name: {"path": path, "port": "observe"} for name, path in PROBES.items()}


def test_the_drain_has_the_time_that_it_may_take(manifest: Manifest) -> None:
    """The grace is longer than the poller's own, an answer and an attempt at a webhook together."""
    settings = manifest.settings
    hooks = [
        sink.timeout for sink in settings.sinks.values() if isinstance(sink, WebhookSinkSettings)
    ]
    longest = settings.engine.shutdown_grace + settings.api.timeout + max(hooks)
    assert manifest.pod["terminationGracePeriodSeconds"] > longest


def test_what_a_killed_poller_had_begun_is_free_after_half_a_minute(manifest: Manifest) -> None:
    """As the head of scaled.yaml says: until then its requests and webhooks may be under way."""
    settings = manifest.settings
    longest = settings.api.timeout + poll_loop._LEASE_MARGIN
    for name, sink in settings.sinks.items():
        made = make_sink(name, sink, settings.server.public_url)
        longest = max(longest, made.deadline + dispatcher._LEASE_MARGIN)
    assert 25 <= longest <= 35


def test_the_pods_are_restricted(manifest: Manifest) -> None:
    """They meet the restricted Pod Security Standard, with a read-only root beside."""
    final = stages(DEPLOY / "container/Dockerfile")[-1]
    whole = manifest.pod["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert f"{whole['runAsUser']}:{whole['runAsGroup']}" == final.one("USER")
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert manifest.pod["automountServiceAccountToken"] is False
    for container in manifest.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_selectors_and_ports_meet(manifest: Manifest) -> None:
    """Service, StatefulSet and policy speak of the same pods and of ports that they have."""
    objects, labels = manifest.objects, manifest.workload["template"]["metadata"]["labels"]
    assert manifest.workload["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert (
        manifest.workload.get("serviceName", "comms-poller-scaled")
        == (objects["Service"]["metadata"]["name"])
    )
    names = {
        each["name"] for container in manifest.containers for each in container.get("ports", [])
    }
    served = {each["targetPort"] for each in objects["Service"]["spec"]["ports"]}
    allowed = {
        each["port"]
        for rule in objects["NetworkPolicy"]["spec"]["ingress"]
        for each in rule["ports"]
    }
    assert served <= names
    assert allowed <= names


def test_the_sidecar_is_a_native_one() -> None:
    """It starts before the application and stops after it, and nobody else reaches its API."""
    documents = yaml.safe_load_all((MANIFESTS / "sidecar.yaml").read_text())
    objects = {document["kind"]: document for document in documents}
    pod = objects["StatefulSet"]["spec"]["template"]["spec"]
    (poller,) = pod["initContainers"]
    assert poller["restartPolicy"] == "Always"
    assert "startupProbe" in poller
    assert 'listen = "127.0.0.1:' in objects["ConfigMap"]["data"]["poller.toml"]


def test_the_lone_poller_asks_for_its_token() -> None:
    """Its control API is behind the Service, and only clients that are labelled reach it."""
    documents = yaml.safe_load_all((MANIFESTS / "poller.yaml").read_text())
    objects = {document["kind"]: document for document in documents}
    (served,) = objects["Service"]["spec"]["ports"]
    assert served["targetPort"] == "control"
    rules = objects["NetworkPolicy"]["spec"]["ingress"]
    (rule,) = (rule for rule in rules if rule["ports"][0]["port"] == "control")
    assert rule["from"] == [{"podSelector": {"matchLabels": {"comms-poller/client": "true"}}}]
