"""The Open Inference Protocol, version 2: one model, whose input `text` gives `label` and `probabilities`.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sentiment_ray import __version__
from sentiment_ray.bundle.files import quote
from sentiment_ray.serve.contracts.open_inference_binary import (
    HEADER,
    decode_texts,
    encode_texts,
    read_size,
    split_body,
)
from sentiment_ray.serve.http import Refusal, Request, Response, make_json_response
from sentiment_ray.serve.json_body import check_encoding, check_headers, describe, parse_json, read_integer
from sentiment_ray.serve.operation import BYTES, BYTES_SCHEMA, JSON, Operation, refer
from sentiment_ray.serve.routes import Route
from sentiment_ray.serve.scoring import Scored, score_texts
from sentiment_ray.serve.service import Service

INPUT = "text"
OUTPUTS = ("label", "probabilities")
LATEST = "1"
"""The version that always is the bundle that answers. The other version that a client may name is the bundle's id."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks for."""

    texts: list[str]
    truncate: bool
    outputs: dict[str, bool]
    """The names of the outputs, and whether each is sent as bytes."""
    id: str | None


async def describe_server(request: Request, service: Service) -> Response:
    """Name the server and the extensions of the protocol that it knows."""
    content = {"name": "sentiment-ray", "version": __version__, "extensions": ["binary_tensor_data"]}
    return make_json_response(content)


async def report_live(request: Request, service: Service) -> Response:
    """Say that the process answers."""
    return make_json_response({"live": True})


async def report_ready(request: Request, service: Service) -> Response:
    """Answer 200 while the service answers requests, else 503."""
    _check_ready(service)
    return make_json_response({"live": True, "ready": True})


async def report_model_ready(request: Request, service: Service) -> Response:
    """Answer 200 while the model answers requests, else 503."""
    _check_model(request, service)
    _check_ready(service)
    return make_json_response({"name": service.config.name, "ready": True})


async def describe_model(request: Request, service: Service) -> Response:
    """Describe the tensors of the model."""
    version = _check_model(request, service)
    num_labels = len(service.predictor.predictor.labels)
    content = {
        "name": service.config.name,
        "versions": [LATEST, version],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, num_labels]},
        ],
    }
    return make_json_response(content)


async def infer(request: Request, service: Service) -> Response:
    """Classify the texts of the input `text`; its data, and those of the outputs, are JSON or bytes."""
    version = _check_model(request, service)
    _check_content_type(request.headers)
    asked = read_request(request.headers, request.body)
    scored = await score_texts(
        request, service, asked.texts, truncate=asked.truncate, name_text=lambda index: f"{INPUT}[{index}]"
    )
    content: dict[str, Any] = {"model_name": service.config.name, "model_version": version}
    if asked.id is not None:
        content["id"] = asked.id
    content["outputs"], tensors = _make_outputs(scored, asked.outputs)
    response = make_json_response(content, scored.headers)
    if tensors:
        response.headers |= {"content-type": BYTES, HEADER: str(len(response.body))}
        response.body = b"".join((response.body, *tensors))
    return response


def read_request(headers: Mapping[str, str], body: bytes) -> InferRequest:
    """Return what a request asks for.

    Refusal: 400 when the body is no JSON followed by the bytes of the tensors, 422 when it is another request.
    """
    head, data = split_body(headers, body)
    values = parse_json(head)
    if not isinstance(values, dict):
        raise Refusal(422, f'The body is {describe(values)}, not an object. Send {{"inputs": […]}}.')
    parameters = _read_parameters(values, "")
    truncate = _read_flag(parameters, "truncate", "parameters", default=True)
    as_bytes = _read_flag(parameters, "binary_data_output", "parameters", default=False)
    request_id = values.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise Refusal(422, f"id is {describe(request_id)}, not a text.")
    return InferRequest(_read_texts(values, data), truncate, _read_outputs(values, as_bytes), request_id)


def _check_ready(service: Service) -> None:
    if not service.is_ready():
        raise Refusal(503, f"The service is {service.state.value}.", "Unhealthy")


def _check_model(request: Request, service: Service) -> str:
    """Return the version of the model; Refusal with 404 when the path names another model or version."""
    name, version = service.config.name, service.predictor.predictor.manifest.bundle_id
    asked, asked_version = request.path_values["model"], request.path_values.get("version", LATEST)
    if asked != name:
        raise Refusal(404, f"There is no model {quote(asked)}. The model is called {quote(name)}.")
    if asked_version not in (LATEST, version):
        raise Refusal(404, f"There is no version {quote(asked_version)}. There are {LATEST} and {version}.")
    return version


def _check_content_type(headers: Mapping[str, str]) -> None:
    """Refuse with 415 what is neither JSON nor bytes by its headers.

    Triton's client sends no Content-Type. A browser sends none only together with the header Origin or Sec-Fetch-Site,
    so that a web page can still not ask a service on the same machine.
    """
    given = headers.get("content-type", "")
    from_browser = "origin" in headers or "sec-fetch-site" in headers
    if given.partition(";")[0].strip().lower() == BYTES or (not given and not from_browser):
        check_encoding(headers)
    elif given != "application/json" or "content-encoding" in headers:
        check_headers(headers)


def _read_texts(values: Mapping[str, Any], data: memoryview) -> list[str]:
    inputs = values.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(422, f"inputs is no list of one tensor. Send the tensor {INPUT!r}.")
    tensor = inputs[0]
    if tensor.get("name") != INPUT:
        raise Refusal(422, f"inputs[0].name is {quote(tensor.get('name'))}. The input is called {INPUT!r}.")
    if tensor.get("datatype") != "BYTES":
        raise Refusal(422, f"inputs[0].datatype is {quote(tensor.get('datatype'))}. Texts are BYTES.")
    num_texts = _count_texts(tensor.get("shape"))
    size = read_size(_read_parameters(tensor, "inputs[0]."), "inputs[0]")
    if (size or 0) != len(data):
        raise Refusal(400, f"inputs[0] has {size or 0} bytes behind the JSON, and {len(data)} came.")
    if size is not None:
        return decode_texts(data, num_texts, INPUT)
    return _read_json_texts(tensor.get("data"), num_texts)


def _count_texts(shape: Any) -> int:
    """Return the number of texts of a shape `[n]` or `[n, 1]`; Refusal with 422 for any other."""
    sizes = [read_integer(size) for size in shape] if isinstance(shape, list) else []
    if len(sizes) not in (1, 2) or sizes[1:] not in ([], [1]) or sizes[0] is None or sizes[0] < 0:
        raise Refusal(422, f"inputs[0].shape is {quote(shape)}. Send [n] or [n, 1], where n is the number of texts.")
    return sizes[0]


def _read_json_texts(data: Any, num_texts: int) -> list[str]:
    if not isinstance(data, list):
        raise Refusal(422, f"inputs[0].data is {describe(data)}, not a list of texts.")
    texts = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise Refusal(422, f"inputs[0].data[{index}] is {describe(text)}, not a text.")
    if len(texts) != num_texts:
        raise Refusal(422, f"inputs[0] has the shape of {num_texts} texts, and its data are {len(texts)}.")
    return texts


def _read_outputs(values: Mapping[str, Any], as_bytes: bool) -> dict[str, bool]:
    outputs = values.get("outputs")
    if outputs is None or outputs == []:
        return dict.fromkeys(OUTPUTS, as_bytes)
    if not isinstance(outputs, list):
        raise Refusal(422, f"outputs is {describe(outputs)}, not a list.")
    chosen = {}
    for index, output in enumerate(outputs):
        name = output.get("name") if isinstance(output, dict) else None
        if name not in OUTPUTS:
            raise Refusal(422, f"outputs[{index}].name is {quote(name)}. The outputs are {' and '.join(OUTPUTS)}.")
        parameters = _read_parameters(output, f"outputs[{index}].")
        if parameters.get("classification"):
            raise Refusal(422, f"outputs[{index}]: classification is not supported. Read the output {OUTPUTS[0]!r}.")
        chosen[name] = _read_flag(parameters, "binary_data", f"outputs[{index}].parameters", default=as_bytes)
    return chosen


def _read_parameters(values: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    parameters = values.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise Refusal(422, f"{prefix}parameters is {describe(parameters)}, not an object.")
    return parameters


def _read_flag(values: Mapping[str, Any], key: str, prefix: str, *, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise Refusal(422, f"{prefix}.{key} is {describe(value)}. Send true or false.")
    return value


def _make_outputs(scored: Scored, chosen: Mapping[str, bool]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the tensors of the answer as JSON, and the bytes of those that are sent as bytes."""
    outputs, tensors = [], []
    for name, as_bytes in chosen.items():
        output: dict[str, Any]
        if name == "label":
            labels = [scored.labels[label_id] for label_id in scored.scores.label_ids]
            output = {"name": name, "datatype": "BYTES", "shape": [len(labels)]}
            data: Any = encode_texts(labels) if as_bytes else labels
        else:
            values = scored.scores.probabilities
            output = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
            data = values.astype(np.dtype("<f4")).tobytes() if as_bytes else values.ravel().tolist()
        if as_bytes:
            output["parameters"] = {"binary_data_size": len(data)}
            tensors.append(data)
        else:
            output["data"] = data
        outputs.append(output)
    return outputs, tensors


TAG = "Open Inference Protocol"


def _list_model_routes(path: str, suffix: str) -> tuple[Route, ...]:
    """Return the routes of the model below a path; the ids of their operations end with `suffix`."""
    describe_operation = Operation(
        f"model_metadata{suffix}", "The tensors of the model.", TAG, {JSON: refer("ModelMetadata")}, statuses=(404,)
    )
    ready_operation = Operation(
        f"model_ready{suffix}", "Whether the model answers.", TAG, {JSON: refer("ModelReady")}, statuses=(404,)
    )
    infer_operation = Operation(
        f"infer{suffix}",
        "Classify texts. With the header `Inference-Header-Content-Length`, the bytes of the tensor follow the JSON.",
        TAG,
        answer={JSON: refer("InferResponse"), BYTES: BYTES_SCHEMA},
        request={JSON: refer("InferRequest")},
        statuses=(404,),
        scores=True,
        has_timing_headers=True,
    )
    return (
        Route("GET", path, describe_model, describe_operation),
        Route("GET", f"{path}/ready", report_model_ready, ready_operation),
        Route("POST", f"{path}/infer", infer, infer_operation),
    )


MODEL_PATH = "/v2/models/{model}"
LIVE = Operation("server_live", "Whether the process answers.", TAG, {JSON: refer("ServerLive")})
READY = Operation("server_ready", "Whether the service answers requests.", TAG, {JSON: refer("ServerReady")})
METADATA = Operation("server_metadata", "The server and its extensions.", TAG, {JSON: refer("ServerMetadata")})
ROUTES = (
    Route("GET", "/v2", describe_server, METADATA),
    Route("GET", "/v2/", describe_server, replace(METADATA, id="server_metadata_at_slash")),
    Route("GET", "/v2/health/live", report_live, LIVE, needs_key=False),
    Route("GET", "/v2/health/ready", report_ready, READY, needs_key=False),
    *_list_model_routes(MODEL_PATH, ""),
    *_list_model_routes(f"{MODEL_PATH}/versions/{{version}}", "_of_version"),
)
