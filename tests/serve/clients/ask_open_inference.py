"""Asks a service with four clients of the Open Inference Protocol and prints their answers as JSON: URL [KEY]."""

import asyncio
import importlib.util
import json
import sys
import types
from typing import Any, NamedTuple

import httpx
import numpy as np

NAME = "sentiment"
TEXTS = ["What a good day!", "nul \0 inside", "\u2028 caf\u0065\u0301 \ufeff"]


class Probabilities(NamedTuple):
    """One row of the output `probabilities`."""

    negative: float
    neutral: float
    positive: float


def ask_triton(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask with tritonclient: JSON and bytes, in both directions."""
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
    from tritonclient.utils import InferenceServerException

    client = InferenceServerClient(url.removeprefix("http://"))
    answers: dict[str, Any] = {
        "live": client.is_server_live(headers=headers),
        "ready": client.is_server_ready(headers=headers),
        "model_ready": client.is_model_ready(NAME, headers=headers),
        "metadata": client.get_model_metadata(NAME, headers=headers),
        "server": client.get_server_metadata(headers=headers),
    }
    for sent, received in ((True, True), (True, False), (False, True), (False, False)):
        tensor = InferInput("text", [len(TEXTS)], "BYTES")
        tensor.set_data_from_numpy(np.array(TEXTS, dtype=object), binary_data=sent)
        outputs = [InferRequestedOutput(name, binary_data=received) for name in ("label", "probabilities")]
        result = client.infer(NAME, [tensor], outputs=outputs, request_id="7", headers=dict(headers))
        assert result.get_response()["id"] == "7"
        answers[f"sent as bytes: {sent}, received as bytes: {received}"] = _read_triton(result)
    tensor.set_data_from_numpy(np.array(TEXTS, dtype=object), binary_data=True)
    version = answers["metadata"]["versions"][1]
    answers["default outputs"] = _read_triton(
        client.infer(NAME, [tensor], model_version=version, headers=dict(headers))
    )
    try:
        client.infer("other", [tensor], headers=dict(headers))
    except InferenceServerException as error:
        answers["error"] = {"status": error.status(), "message": error.message()}
    return answers


def _read_triton(result: Any) -> dict[str, Any]:
    labels = [label if isinstance(label, str) else label.decode() for label in result.as_numpy("label")]
    probabilities = result.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    return {"label": labels, "probabilities": probabilities.tolist()}


async def ask_kserve(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask with kserve's REST client. Its package also imports a server and Kubernetes, which this test leaves out."""
    package = types.ModuleType("kserve")
    found = importlib.util.find_spec("kserve")
    assert found
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["kserve"] = package
    from kserve.inference_client import InferenceRESTClient, RESTConfig
    from kserve.protocol.infer_type import InferInput, InferRequest

    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    answers: dict[str, Any] = {
        "live": await client.is_server_live(url, headers=headers),
        "ready": await client.is_server_ready(url, headers=headers),
        "model_ready": await client.is_model_ready(url, NAME, headers=headers),
    }
    for as_bytes in (True, False):
        tensor = InferInput("text", [len(TEXTS)], "BYTES")
        tensor.set_data_from_numpy(np.array(TEXTS, dtype=object), binary_data=as_bytes)
        request = InferRequest(NAME, [tensor], parameters={"binary_data_output": as_bytes})
        response = await client.infer(url, request, model_name=NAME, headers=dict(headers))
        by_name = {output.name: output.as_numpy() for output in response.outputs}
        answers[f"bytes: {as_bytes}"] = {
            "label": [label if isinstance(label, str) else label.decode() for label in by_name["label"].tolist()],
            "probabilities": by_name["probabilities"].tolist(),
        }
    try:
        await client.infer(url, {"inputs": []}, model_name=NAME, headers=headers)
    except httpx.HTTPStatusError as error:
        answers["error"] = {"status": error.response.status_code, "message": str(error)}
    await client.close()
    return answers


def ask_open_inference_openapi(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask with open-inference-openapi."""
    from open_inference.openapi.client import InferenceRequest, OpenInferenceClient
    from open_inference.openapi.types import RequestInput, TensorData

    client = OpenInferenceClient(base_url=url, httpx_client=httpx.Client(headers=headers))
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness(NAME)
    client.check_model_version_readiness(NAME, "1")
    tensor = RequestInput(name="text", shape=[len(TEXTS)], datatype="BYTES", data=TensorData.parse_obj(TEXTS))
    response = client.model_infer(NAME, request=InferenceRequest(inputs=[tensor]))
    by_name = {output.name: output for output in response.outputs}
    probabilities = np.reshape(by_name["probabilities"].data.__root__, by_name["probabilities"].shape)
    return {
        "metadata": json.loads(client.read_model_metadata(NAME).json()),
        "server": json.loads(client.read_server_metadata().json()),
        "answer": {"label": by_name["label"].data.__root__, "probabilities": probabilities.tolist()},
    }


def ask_pydantic_open_inference(url: str, headers: dict[str, str]) -> dict[str, Any]:
    """Ask with pydantic-open-inference, whose client takes no headers but lets them be set."""
    from pydantic_open_inference import InputsBaseModel, OutputsBaseModel, RemoteModel

    class Inputs(InputsBaseModel):
        text: list[str]

    class Outputs(OutputsBaseModel):
        label: list[str]
        probabilities: list[Probabilities]

    model = RemoteModel(model_name=NAME, inputs_model=Inputs, outputs_model=Outputs, server_url=url)
    model._client_api._client.headers.update(headers)
    model.validate()
    outputs = model.infer(Inputs(text=TEXTS))
    answer = {"label": outputs.label, "probabilities": [list(row) for row in outputs.probabilities]}
    return {"ready": model.is_ready(), "answer": answer}


def main(url: str, key: str | None) -> None:
    """Print the answers by the name of the client."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answers = {
        "tritonclient": ask_triton(url, headers),
        "kserve": asyncio.run(ask_kserve(url, headers)),
        "open-inference-openapi": ask_open_inference_openapi(url, headers),
        "pydantic-open-inference": ask_pydantic_open_inference(url, headers),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], (sys.argv[2:] or [None])[0])
