"""The same application on Ray Serve: its answers, its key, its health; and the files in deploy/ that start it."""

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentiment_ray import Predictor
from sentiment_ray.errors import ConfigError
from sentiment_ray.serve.config import ServeConfig
from tests.serve.running import GOLDEN

ROOT = Path(__file__).parents[2]
KEY = "sesame"
FILE: Any = {"engine": "onnxruntime", "variant": "fp32"}
"""What the service and its judge run. By default the service takes the file that is fastest on this machine."""


@pytest.fixture(scope="module")
def port(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the application on Ray Serve, in one replica."""
    from ray import serve

    from jobs.serve_bundle import build

    key_file = tmp_path_factory.mktemp("ray_serve") / "key"
    key_file.write_text(KEY)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": free})
    serve.run(build({**FILE, "bundle": str(GOLDEN), "threads": 1, "api_key_file": str(key_file)}))
    yield free
    serve.shutdown()


def ask(port: int, method: str, path: str, body: Any = None, key: str = KEY) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_ray_serve_gives_the_answers_of_the_predictor_and_asks_for_the_key(port: int) -> None:
    status, body = ask(port, "POST", "/predict", {"inputs": ["a good shop", "tea"]})
    expected = Predictor.load(GOLDEN, **FILE, threads=1).predict(["a good shop", "tea"])
    assert status == 200
    for answer, prediction in zip(json.loads(body), expected, strict=True):
        assert {item["label"]: item["score"] for item in answer} == pytest.approx(prediction.probabilities, abs=1e-5)
    assert ask(port, "POST", "/predict", {"inputs": "tea"}, key="no")[0] == 401
    assert ask(port, "GET", "/v2/health/ready", key="no")[0] == 200
    assert ask(port, "POST", "/predict", {"inputs": []})[0] == 400
    assert b"sentiment_ray_texts_total" in ask(port, "GET", "/metrics")[1]


def test_ray_serve_needs_a_key() -> None:
    from jobs.serve_bundle import build

    with pytest.raises(ConfigError, match="Pass api_key_file=FILE"):
        build({"bundle": str(GOLDEN)})


def read_serve_config() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / "deploy/serve_config.yaml").read_text())
    return values


def test_the_configuration_of_ray_serve_is_valid_and_names_what_there_is() -> None:
    from ray.serve.schema import ServeDeploySchema

    from jobs.serve_bundle import SentimentService

    values = read_serve_config()
    ServeDeploySchema(**values)
    (application,) = values["applications"]
    assert application["import_path"] == "jobs.serve_bundle:build"
    config = ServeConfig(**application["args"])
    assert config.api_key_file, "the token of Ray does not protect this port"
    (deployment,) = application["deployments"]
    assert deployment["name"] == SentimentService.name
    assert deployment["ray_actor_options"]["num_cpus"] == config.threads
    scaling = deployment["autoscaling_config"]
    assert scaling["min_replicas"] < scaling["max_replicas"]
    assert scaling["target_ongoing_requests"] < deployment["max_ongoing_requests"]
    assert values["http_options"]["keep_alive_timeout_s"] > 60


def test_the_rayservice_has_the_same_configuration_the_pinned_ray_and_a_token() -> None:
    service = yaml.safe_load((ROOT / "deploy/rayservice.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == read_serve_config()
    cluster = service["spec"]["rayClusterConfig"]
    version = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]  # type: ignore[index]
    assert cluster["rayVersion"] == version
    assert cluster["authOptions"] == {"mode": "token"}
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"].endswith(f"-ray{version}")
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {"data", "key"}


def test_the_container_of_the_service_runs_as_nobody_asks_for_a_key_and_copies_what_there_is() -> None:
    lines = (ROOT / "deploy/Dockerfile.serve").read_text().splitlines()
    entry = json.loads(next(line for line in lines if line.startswith("ENTRYPOINT")).removeprefix("ENTRYPOINT "))
    flags = dict(zip(entry[3::2], entry[4::2], strict=True))
    assert entry[:2] == ["sentiment-ray", "serve"]
    config = ServeConfig(bundle=entry[2], **{name[2:].replace("-", "_"): value for name, value in flags.items()})
    assert config.api_key_file
    assert config.host == "0.0.0.0"
    assert any(re.fullmatch(r"USER [1-9]\d*", line) for line in lines)
    assert any(re.search(r"pip install .*-c constraints\.txt", line) for line in lines)
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
