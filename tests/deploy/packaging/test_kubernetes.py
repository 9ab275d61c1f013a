"""The Kubernetes manifests: valid for the versions we name, hardened, and with what emr-fl needs to accept a kit."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from emr_fl_deploy.provision.changes import revoke
from emr_fl_deploy.provision.provisioning import provision
from emr_fl_shared.errors import PolicyError
from emr_fl_shared.kit import read_server_kit, read_site_kit
from federation_kits import settings_of

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
ROLES = ("server", "client")
VERSIONS = ("1.31", "1.34", "1.37")
USER = 10001


def objects(role: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / f"{role}.yaml").read_text(encoding="utf-8")))


def workload(role: str) -> dict[str, Any]:
    (found,) = [item for item in objects(role) if item["kind"] in ("Job", "Deployment")]
    return found


def pod(role: str) -> dict[str, Any]:
    spec: dict[str, Any] = workload(role)["spec"]["template"]["spec"]
    return spec


def containers(role: str) -> list[dict[str, Any]]:
    return [*pod(role)["initContainers"], *pod(role)["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("role", ROLES)
def test_every_object_is_valid_and_has_no_field_of_ours(role: str, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    for item in objects(role):
        validate(item, version, strict=True)


def test_the_validation_can_fail() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    job = workload("server")
    job["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[0], strict=True)


@pytest.mark.parametrize("role", ROLES)
def test_pods_fit_the_restricted_standard_and_write_to_volumes_only(role: str) -> None:
    spec = pod(role)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == USER
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(role):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container["name"]
        assert "memory" in container["resources"]["limits"]
        assert "env" not in container  # no secret in an environment
    assert "hostNetwork" not in spec
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    (namespace,) = [item for item in objects(role) if item["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("role", ROLES)
def test_every_volume_is_declared_and_every_selector_finds_its_pod(role: str) -> None:
    spec = pod(role)
    declared = {volume["name"] for volume in spec["volumes"]}
    used = {mount["name"] for container in containers(role) for mount in container["volumeMounts"]}
    assert used == declared
    labels = workload(role)["spec"]["template"]["metadata"]["labels"]
    for item in objects(role):
        if item["kind"] == "Service":
            assert item["spec"]["selector"].items() <= labels.items()
        if item["kind"] == "NetworkPolicy":
            assert item["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    claims = {item["metadata"]["name"] for item in objects(role) if item["kind"] == "PersistentVolumeClaim"}
    writable = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume and not volume["persistentVolumeClaim"].get("readOnly")
    }
    assert claims == writable


def test_nothing_reaches_a_hospital_and_it_reaches_the_server_and_names_only() -> None:
    (policy,) = [item for item in objects("client") if item["kind"] == "NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["ingress"] == []
    server, names = policy["spec"]["egress"]
    assert server == {
        "to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}],
        "ports": [{"protocol": "TCP", "port": 9443}],
    }
    assert {port["port"] for port in names["ports"]} == {53}
    assert "ports" not in pod("client")["containers"][0]


def test_the_server_takes_the_federations_port_and_goes_nowhere() -> None:
    (policy,) = [item for item in objects("server") if item["kind"] == "NetworkPolicy"]
    assert policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 9443}]}]
    assert policy["spec"]["egress"] == []
    (service,) = [item for item in objects("server") if item["kind"] == "Service"]
    assert [port["port"] for port in service["spec"]["ports"]] == [9443]


def test_probes_ask_the_port_of_the_health_option() -> None:
    server = pod("server")["containers"][0]
    assert "--health=0.0.0.0:9444" in server["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["grpc"] == {"port": 9444}


def test_a_refusal_and_a_stop_end_the_job_and_a_drained_node_does_not() -> None:
    first, second = workload("server")["spec"]["podFailurePolicy"]["rules"]
    assert (first["action"], first["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (second["action"], second["onExitCodes"]["values"]) == ("FailJob", [2, 3, 130])


# --- the containers that turn a Secret into a kit -----------------------------------------------------------------------------------


def mounted_secret(source: Path, folder: Path) -> Path:
    """A folder as the kubelet mounts it: links through `..data`, readable by a group."""
    version = folder / "..2026_03_01"
    version.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, version / path.name)
            (version / path.name).chmod(0o440)
            (folder / path.name).symlink_to(Path("..data") / path.name)
    (folder / "..data").symlink_to(version.name)
    return folder


def new_version(source: Path, folder: Path) -> None:
    """What the kubelet does when the Secret changes: a new folder, one link swung over."""
    version = folder / "..2026_03_02"
    version.mkdir()
    for path in source.iterdir():
        shutil.copyfile(path, version / path.name)
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")


def command(role: str, secret: Path, kit: Path) -> list[str]:
    (init,) = pod(role)["initContainers"]
    return [
        part.replace("/secret", str(secret)).replace("/etc/emr-fl/kit", str(kit)) for part in init["command"]
    ]


@pytest.fixture
def issued(tmp_path: Path) -> Path:
    provision(settings_of(), tmp_path / "KITS")
    return tmp_path / "KITS"


def test_a_sites_kit_from_a_secret_is_accepted(issued: Path, tmp_path: Path) -> None:
    secret = mounted_secret(issued / "sites" / "hospital-a", tmp_path / "secret")
    with pytest.raises(PolicyError):  # as it is mounted it is refused: that is why it is copied
        read_site_kit(secret)
    kit = tmp_path / "kit"
    kit.mkdir()
    subprocess.run(command("client", secret, kit), check=True)
    assert read_site_kit(kit).name == "hospital-a"


@pytest.fixture
def copying(issued: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    secret, kit = mounted_secret(issued / "server", tmp_path / "secret"), tmp_path / "kit"
    kit.mkdir()
    arguments = [part.replace("sleep 5", "sleep 0.1") for part in command("server", secret, kit)]
    process = subprocess.Popen(arguments)
    yield secret, kit
    process.terminate()
    assert process.wait(10) == 0


def until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def test_a_revocation_reaches_the_servers_kit_while_it_runs(issued: Path, copying: tuple[Path, Path]) -> None:
    secret, kit = copying
    until((kit / ".ready").exists)
    first = read_server_kit(kit).registry()
    assert all(path.stat().st_mode & 0o077 == 0 for path in kit.iterdir())
    revoke(issued, "hospital-b", "test")
    new_version(issued / "server", secret)
    until(lambda: read_server_kit(kit).registry(at_least=first.revision).revision > first.revision)
    entry = read_server_kit(kit).registry().entry_of("hospital-b")
    assert entry is not None and entry.revoked
