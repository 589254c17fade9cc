"""The ways to send texts to the service, one for each contract and form of its bodies."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np
from fastapi.testclient import TestClient

LABELS = ("negative", "neutral", "positive")
JSON = {"content-type": "application/json"}
INFER = "/v2/models/sentiment/infer"

Ask = Callable[[TestClient, Sequence[str], bool], httpx.Response]
Read = Callable[[httpx.Response], list[tuple[str, list[float]]]]


def post(client: TestClient, path: str, body: Any) -> httpx.Response:
    return client.post(path, content=json.dumps(body), headers=JSON)


def read_ranking(ranking: list[dict[str, Any]]) -> tuple[str, list[float]]:
    by_label = {row["label"]: row["score"] for row in ranking}
    return ranking[0]["label"], [by_label[label] for label in LABELS]


def read_rankings(response: httpx.Response) -> list[tuple[str, list[float]]]:
    return [read_ranking(ranking) for ranking in response.json()]


def read_vertex(response: httpx.Response) -> list[tuple[str, list[float]]]:
    return [read_ranking(prediction) for prediction in response.json()["predictions"]]


def _read_outputs(response: httpx.Response) -> list[tuple[str, list[float]]]:
    by_name = {output["name"]: output["data"] for output in response.json()["outputs"]}
    rows = np.reshape(by_name["probabilities"], (-1, len(LABELS))).tolist()
    return list(zip(by_name["label"], rows, strict=True))


def _read_bytes(response: httpx.Response) -> list[tuple[str, list[float]]]:
    length = int(response.headers["inference-header-content-length"])
    outputs = json.loads(response.content[:length])["outputs"]
    data = response.content[length:]
    split = outputs[0]["parameters"]["binary_data_size"]
    labels, start = [], 0
    while start < split:
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        labels.append(data[start + 4 : end].decode())
        start = end
    rows = np.frombuffer(data[split:], "<f4").reshape(outputs[1]["shape"]).tolist()
    return list(zip(labels, rows, strict=True))


def make_tensor(texts: Sequence[str], shape: list[int]) -> dict[str, Any]:
    data: list[Any] = [[text] for text in texts] if len(shape) == 2 else list(texts)
    return {"name": "text", "datatype": "BYTES", "shape": shape, "data": data}


def _ask_bytes(client: TestClient, texts: Sequence[str], truncate: bool) -> httpx.Response:
    encoded = [text.encode() for text in texts]
    data = b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True, "truncate": truncate}}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return client.post(INFER, content=head + data, headers=headers)


DOORS: dict[str, tuple[Ask, Read]] = {
    "a list": (lambda c, t, cut: post(c, "/predict", {"inputs": [*t], "truncate": cut}), read_rankings),
    "lists of one": (
        lambda c, t, cut: post(c, "/invocations", {"inputs": [[text] for text in t], "truncate": cut}),
        read_rankings,
    ),
    "Hugging Face": (
        lambda c, t, cut: post(c, "/", {"inputs": [*t], "parameters": {}, "truncate": cut}),
        read_rankings,
    ),
    "Vertex": (
        lambda c, t, cut: post(c, "/vertex", {"instances": [{"inputs": text, "truncate": cut} for text in t]}),
        read_vertex,
    ),
    "a tensor": (
        lambda c, t, cut: post(c, INFER, {"inputs": [make_tensor(t, [len(t)])], "parameters": {"truncate": cut}}),
        _read_outputs,
    ),
    "a tensor of two dimensions": (
        lambda c, t, cut: post(
            c,
            "/v2/models/sentiment/versions/1/infer",
            {"inputs": [make_tensor(t, [len(t), 1])], "parameters": {"truncate": cut}},
        ),
        _read_outputs,
    ),
    "bytes": (_ask_bytes, _read_bytes),
}


def read_error(response: httpx.Response) -> tuple[str, str | None]:
    """Return the message and the type, which the Open Inference Protocol does not have."""
    content = response.json()
    is_open_inference = response.request.url.path.startswith("/v2")
    assert content.keys() == ({"error"} if is_open_inference else {"error", "error_type"})
    return content["error"], content.get("error_type")
