"""The JSON schemas of the Open Inference Protocol, as far as the model of the service needs them."""

from typing import Any

from sentiment_ray.serve.contracts.text_embeddings_inference_schemas import make_object
from sentiment_ray.serve.operation import Schema, refer

_NAME: Schema = {"type": "string"}
_TRUE: Schema = {"const": True}
_SIZE: Schema = {"type": "integer", "minimum": 0}


def make_schemas(max_texts: int) -> dict[str, Schema]:
    """Return the schemas by their names in the document."""
    texts = {"type": "array", "minItems": 1, "maxItems": max_texts}
    nested = {"type": "array", "minItems": 1, "maxItems": 1, "items": refer("Text")}
    return {
        "ServerMetadata": make_object(
            {"name": _NAME, "version": _NAME, "extensions": {"type": "array", "items": _NAME}}
        ),
        "ServerLive": make_object({"live": _TRUE}),
        "ServerReady": make_object({"live": _TRUE, "ready": _TRUE}),
        "ModelReady": make_object({"name": _NAME, "ready": _TRUE}),
        "TensorMetadata": make_object(
            {"name": _NAME, "datatype": _NAME, "shape": {"type": "array", "items": {"type": "integer"}}}
        ),
        "ModelMetadata": make_object(
            {
                "name": _NAME,
                "versions": {"type": "array", "items": _NAME},
                "platform": _NAME,
                "inputs": {"type": "array", "items": refer("TensorMetadata")},
                "outputs": {"type": "array", "items": refer("TensorMetadata")},
            }
        ),
        "InferRequest": _make_infer_request({**texts, "items": {"anyOf": [refer("Text"), nested]}}),
        "RequestedOutput": _REQUESTED_OUTPUT,
        "LabelOutput": _make_output("label", "BYTES", {"type": "string"}),
        "ProbabilitiesOutput": _make_output("probabilities", "FP32", {"type": "number", "minimum": 0, "maximum": 1}),
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {
                "model_name": _NAME,
                "model_version": {"type": "string", "description": "The bundle's id."},
                "id": {"type": "string", "description": "The id of the request, if it had one."},
                "outputs": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 2,
                    "items": {"oneOf": [refer("LabelOutput"), refer("ProbabilitiesOutput")]},
                },
            },
            "additionalProperties": False,
        },
        "OpenInferenceError": make_object(
            {"error": {"type": "string", "description": "What is wrong and what to do; repeats no text."}}
        ),
    }


def _make_infer_request(data: Schema) -> Schema:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": "text"},
            "shape": {
                "description": "[n] or [n, 1], where n is the number of texts in `data`.",
                "type": "array",
                "minItems": 1,
                "maxItems": 2,
                "items": {"type": "integer", "minimum": 1},
            },
            "datatype": {"const": "BYTES"},
            "data": data,
        },
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"description": "Comes back in the answer.", "type": ["string", "null"]},
            "parameters": {
                "type": ["object", "null"],
                "properties": {
                    "truncate": {
                        "description": "If false, a text that would be cut is refused with 422.",
                        "type": "boolean",
                        "default": True,
                    },
                    "binary_data_output": {
                        "description": "Send the outputs as bytes behind the JSON.",
                        "type": "boolean",
                        "default": False,
                    },
                },
            },
            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": tensor},
            "outputs": {
                "description": "The outputs to send; without any, both.",
                "type": ["array", "null"],
                "items": refer("RequestedOutput"),
            },
        },
    }


_REQUESTED_OUTPUT: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"enum": ["label", "probabilities"]},
        "parameters": {
            "type": ["object", "null"],
            "properties": {"binary_data": {"description": "Send it as bytes behind the JSON.", "type": "boolean"}},
        },
    },
}


def _make_output(name: str, datatype: str, item: Schema) -> Schema:
    """Return the schema of an output: its data, or the number of its bytes behind the JSON."""
    properties: dict[str, Any] = {
        "name": {"const": name},
        "datatype": {"const": datatype},
        "shape": {"type": "array", "items": _SIZE},
        "data": {"type": "array", "items": item},
        "parameters": make_object({"binary_data_size": _SIZE}),
    }
    return {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": properties,
        "oneOf": [{"required": ["data"]}, {"required": ["parameters"]}],
        "additionalProperties": False,
    }
