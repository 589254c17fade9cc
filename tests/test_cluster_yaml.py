"""cluster.yaml and deploy/ pass Ray's schema and checks, and have token authentication and pinned versions."""

import copy
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

Config = dict[str, Any]

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
RAY_VERSION = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
TOKEN_PATH = "/home/ray/sentiment-ray/auth_token"


@pytest.fixture
def cluster() -> Config:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def check_cluster(cluster: Config) -> None:
    """Raise an AssertionError that names a setting of cluster.yaml that is missing or wrong."""
    launched = AutoscalingConfig(copy.deepcopy(cluster), skip_content_hash=True)
    setup = {
        name: launched.get_worker_setup_commands(name)
        if name != cluster["head_node_type"]
        else launched.get_head_setup_commands()
        for name in cluster["available_node_types"]
    }
    check_token_authentication(cluster)
    check_images(launched, list(setup))
    for name, commands in setup.items():
        check_setup(name, commands, has_gpu="GPU" in cluster["available_node_types"][name]["resources"])
    check_mounts(cluster["file_mounts"])


def check_token_authentication(cluster: Config) -> None:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in cluster[key] if "ray start" in command]
        assert starts, f"{key} starts no Ray"
        for command in starts:
            exported = command.partition("ray start")[0]
            assert re.search(r"\bexport\b[^;]*\bRAY_AUTH_MODE=token\b", exported), f"{key}: no token authentication"
            assert re.search(rf"\bexport\b[^;]*\bRAY_AUTH_TOKEN_PATH={TOKEN_PATH};", exported), f"{key}: no token"
            if "--head" in command:
                assert "--dashboard-host=127.0.0.1" in command.split(), f"{key}: the dashboard is not on loopback"
    assert TOKEN_PATH in cluster["file_mounts"], "the token does not reach the nodes"


def check_images(launched: AutoscalingConfig, node_types: list[str]) -> None:
    for name in node_types:
        docker = launched.get_docker_config(name)
        image = docker.get("worker_image", docker["image"])
        suffix = "-gpu" if name == "gpu" else ""
        assert image == f"rayproject/ray:{RAY_VERSION}-py311{suffix}", f"image of the node type {name}: {image}"


def check_setup(name: str, commands: list[str], *, has_gpu: bool) -> None:
    installs = [command for command in commands if "pip install" in command and command != "pip install boto3"]
    assert installs, f"{name} installs nothing"
    assert all(re.search(r"pip install -c constraints\.txt\b", command) for command in installs), f"{name}: no pins"
    extras = {extra for command in installs for extra in Requirement("x" + re.search(r"\[.*?\]", command)[0]).extras}
    assert extras <= EXTRAS, f"{name} installs extras that do not exist: {sorted(extras - EXTRAS)}"
    assert extras & {"cpu", "gpu", "all"} == {"gpu" if has_gpu else "cpu"}, f"{name} installs {sorted(extras)}"
    assert not (has_gpu and "export" in extras), f"{name}: export brings onnxruntime beside onnxruntime-gpu"


def check_mounts(mounts: dict[str, str]) -> None:
    for remote, local in mounts.items():
        if remote != TOKEN_PATH:
            assert (ROOT / local).is_file(), f"{local} of file_mounts is not in the repository"
    directory = TOKEN_PATH.rpartition("/")[0]
    needed = {f"{directory}/{name}" for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")}
    assert needed <= mounts.keys(), f"pip needs {sorted(needed - mounts.keys())} on the nodes"


def test_ray_accepts_cluster_yaml(cluster: Config) -> None:
    jsonschema.validate(cluster, SCHEMA)
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_cluster_yaml_is_authenticated_and_pinned(cluster: Config) -> None:
    check_cluster(cluster)


def test_only_the_commands_of_cluster_yaml_run_on_a_node(cluster: Config) -> None:
    prepared = prepare_config(copy.deepcopy(cluster))
    for key in [key for key in prepared if key.endswith("_commands")]:
        assert prepared[key] == cluster.get("setup_commands", []) + cluster.get(key, []), key


def test_the_head_offers_no_cpus_for_tasks(cluster: Config) -> None:
    assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(lambda c: c.update(max_worker=3), id="unknown key"),
        pytest.param(lambda c: c.pop("provider"), id="no provider"),
        pytest.param(lambda c: c["available_node_types"]["cpu"].pop("resources"), id="no resources"),
        pytest.param(lambda c: c["available_node_types"]["cpu"].update(image="x"), id="unknown key of a node type"),
        pytest.param(lambda c: c["available_node_types"]["gpu"]["resources"].update(GPU=0.5), id="half a GPU"),
        pytest.param(lambda c: c.update(setup_commands="pip install ."), id="commands that are not a list"),
    ],
)
def test_the_schema_refuses_a_wrong_cluster_yaml(cluster: Config, mutate: Callable[[Config], Any]) -> None:
    mutate(cluster)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, SCHEMA)


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        (lambda c: c.update(head_node_type="boss"), "head_node_type"),
        (lambda c: c["available_node_types"]["cpu"].update(min_workers=99), "max_workers"),
    ],
)
def test_ray_refuses_a_contradictory_cluster_yaml(
    cluster: Config, mutate: Callable[[Config], Any], message: str
) -> None:
    mutate(cluster)
    with pytest.raises(ValueError, match=message):
        validate_config(prepare_config(cluster))


def replace(cluster: Config, key: str, old: str, new: str) -> None:
    assert any(old in command for command in cluster[key])
    cluster[key] = [command.replace(old, new) for command in cluster[key]]


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        (lambda c: replace(c, "head_start_ray_commands", "RAY_AUTH_MODE=token ", ""), "no token authentication"),
        (
            lambda c: replace(c, "worker_start_ray_commands", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"),
            "no token",
        ),
        (lambda c: replace(c, "worker_start_ray_commands", "export ", "echo "), "no token authentication"),
        (lambda c: replace(c, "head_start_ray_commands", "127.0.0.1", "0.0.0.0"), "loopback"),
        (lambda c: c["file_mounts"].pop(TOKEN_PATH), "does not reach"),
        (lambda c: c["docker"].update(image="rayproject/ray:2.59.0-py311"), "image of the node type head"),
        (lambda c: c["available_node_types"]["gpu"].pop("docker"), "image of the node type gpu"),
        (lambda c: c["available_node_types"]["gpu"].pop("worker_setup_commands"), "gpu installs .*'cpu'"),
        (lambda c: replace(c, "worker_setup_commands", "[cpu", "[gpu"), "cpu installs .*'gpu'"),
        (lambda c: replace(c, "head_setup_commands", "[cpu", "[cpu,gpu"), "head installs"),
        (lambda c: replace(c, "head_setup_commands", "export,", "exports,"), "do not exist"),
        (lambda c: replace(c, "head_setup_commands", "-c constraints.txt", ""), "head: no pins"),
        (lambda c: c["file_mounts"].update({"/x": "requirements.txt"}), "requirements.txt"),
        (lambda c: c["file_mounts"].pop("/home/ray/sentiment-ray/constraints.txt"), "constraints.txt"),
    ],
)
def test_a_wrong_setting_is_named(cluster: Config, mutate: Callable[[Config], Any], message: str) -> None:
    mutate(cluster)
    with pytest.raises(AssertionError, match=message):
        check_cluster(cluster)


def test_rayjob_starts_an_authenticated_cluster_with_the_pinned_ray() -> None:
    job = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())
    spec = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["rayVersion"] == RAY_VERSION
    assert spec["authOptions"] == {"mode": "token"}
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"].endswith(f"-ray{RAY_VERSION}")
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]


def test_dockerfile_uses_the_pinned_ray_and_copies_existing_files() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert set(re.findall(r"(\d+\.\d+\.\d+)-py311", dockerfile)) == {RAY_VERSION}
    assert re.search(r"^RUN pip install .*-c constraints\.txt", dockerfile, re.MULTILINE)
    copied = [line.split()[2:-1] for line in dockerfile.splitlines() if line.startswith("COPY")]
    assert copied
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []
