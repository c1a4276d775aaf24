"""The files that deploy lmscore: valid for what reads them, and true of the server."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lmscore.server.settings import Settings
from lmscore.server.settings_sources import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
MANIFESTS = sorted(path for path in KUBERNETES.glob("*.yaml") if path.stem != "kustomization")


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def test_the_compose_file_follows_the_specification() -> None:
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_of_others_has_a_version() -> None:
    services = read_yaml(COMPOSE)["services"]
    images = [service["image"] for service in services.values()]

    assert {"prom/prometheus", "grafana/grafana"} <= {image.rpartition(":")[0] for image in images}
    assert all(re.search(r":v?\d+\.\d+\.\d+", image) for image in images)


def test_every_file_that_compose_mounts_is_there() -> None:
    services = read_yaml(COMPOSE)["services"].values()
    mounts = [volume for service in services for volume in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]

    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_ports_are_open_on_this_machine_only() -> None:
    services = read_yaml(COMPOSE)["services"].values()
    ports = [port for service in services for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", ["server", "server-gpu"])
def test_the_server_understands_what_compose_tells_it(service: str) -> None:
    arguments = [
        part.removeprefix("--") for part in read_yaml(COMPOSE)["services"][service]["command"]
    ]
    flags: dict[str, str] = {}
    for name, value in (argument.split("=", 1) for argument in arguments):
        key = name.replace("-", "_")
        flags[key] = f"{flags[key]},{value}" if key in flags else value
    settings, _ = load_settings(flags)

    assert [source.name for source in settings.model] == ["demo", "demo-lstm"]
    demo = [str(source.path).removeprefix("/opt/lmscore/demo/") for source in settings.model]
    assert all((ROOT / "checkpoints" / "demo" / name).exists() for name in demo)


def test_the_image_is_made_of_files_that_are_there_and_not_ignored() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copies = [
        line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line
    ]
    sources = [source for copy in copies for source in copy]
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    ]

    assert "server" in sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [s for s in sources if not any(Path(s).is_relative_to(k) for k in kept)] == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_follow_the_published_schemas(path: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="`make peers` installs it")
    manifest = read_yaml(path)

    for version in ("1.31", validator.latest_version()):
        try:
            validator.validate(manifest, version, strict=True)
        except validator.ValidationError as error:
            pytest.fail(f"{path.name} against {version}: {error.message}")
    assert manifest["metadata"]["name"] == "lmscore"


def test_manifests_that_break_the_schemas_are_found() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="`make peers` installs it")
    manifest = read_yaml(KUBERNETES / "deployment.yaml")
    manifest["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["grpcs"] = {}

    with pytest.raises(validator.ValidationError):
        validator.validate(manifest, "1.31", strict=True)


def test_kustomize_has_all_manifests() -> None:
    listed = read_yaml(KUBERNETES / "kustomization.yaml")["resources"]

    assert sorted(listed) == [path.name for path in MANIFESTS]


def test_pods_are_given_more_time_than_the_server_takes_to_drain() -> None:
    pod = read_yaml(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
    config = tomllib.loads(read_yaml(KUBERNETES / "configmap.yaml")["data"]["lmscore.toml"])
    [container] = pod["containers"]
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert waits + config["drain_timeout_seconds"] < pod["terminationGracePeriodSeconds"]


def test_the_config_has_settings_of_the_server_and_the_ports_that_are_named() -> None:
    pod = read_yaml(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
    config = tomllib.loads(read_yaml(KUBERNETES / "configmap.yaml")["data"]["lmscore.toml"])
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}

    assert set(config) <= set(Settings.model_fields)
    assert config["listen"].endswith(f":{ports['grpc']}")
    assert config["metrics"].endswith(f":{ports['metrics']}")
