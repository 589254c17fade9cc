"""The JSON schemas of text-embeddings-inference's contract, with what the clients of Hugging Face and Vertex add."""

from typing import Any

from sentiment_ray.serve.operation import Schema, refer

NOT_BLANK = r"[^\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
"""A regular expression that is found in every text but those of white space alone."""
ERROR_TYPES = (
    "Unhealthy",
    "Backend",
    "Overloaded",
    "Validation",
    "Tokenizer",
    "Empty",
    "Unauthorized",
    "Timeout",
)
"""All but the last two are text-embeddings-inference's."""


def make_schemas(max_texts: int) -> dict[str, Schema]:
    """Return the schemas by their names in the document."""
    return {
        "Text": {"type": "string", "pattern": NOT_BLANK, "description": "A text that is not blank."},
        "PredictRequest": _make_request(max_texts, {"parameters": _PARAMETERS}),
        "VertexInstance": _make_request(max_texts, {}),
        "HuggingFaceParameters": _HUGGING_FACE_PARAMETERS,
        "Prediction": make_object(
            {
                "score": {"type": "number", "description": "Probability, or what was asked for instead of it."},
                "label": {"type": "string"},
            }
        ),
        "Ranking": {
            "type": "array",
            "description": "The labels of one text, the likeliest first.",
            "minItems": 1,
            "items": refer("Prediction"),
        },
        "Rankings": {"type": "array", "minItems": 1, "items": refer("Ranking")},
        "PredictResponse": {
            "description": "One ranking for one text, or a list with a ranking for each text.",
            "oneOf": [refer("Ranking"), refer("Rankings")],
        },
        "ShadowInfo": {
            "oneOf": [
                make_object(
                    {"bundle_id": {"type": "string"}, "labels": {"type": "array", "items": {"type": "string"}}}
                ),
                {"type": "null"},
            ]
        },
        "VertexRequest": {
            "type": "object",
            "required": ["instances"],
            "properties": {
                "instances": {"type": "array", "minItems": 1, "maxItems": max_texts, "items": refer("VertexInstance")}
            },
        },
        "VertexResponse": make_object({"predictions": {"type": "array", "items": refer("PredictResponse")}}),
        "RerankRequest": {"description": "The model ranks no texts, so every body is refused."},
        "Info": _INFO,
        "Reloaded": make_object({"bundle_id": {"type": "string"}}),
        "Error": make_object(
            {
                "error": {"type": "string", "description": "What is wrong and what to do; repeats no text."},
                "error_type": {"type": "string", "enum": list(ERROR_TYPES)},
            }
        ),
    }


def make_object(properties: dict[str, Any]) -> Schema:
    """Return the schema of an object of an answer, which has all its keys and no other."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _make_request(max_texts: int, more: dict[str, Schema]) -> Schema:
    """Return the schema of texts and how they are to be scored; `more` has further keys."""
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {
                "description": "One text, or a list of texts, each of which may be in a list of its own.",
                "anyOf": [
                    refer("Text"),
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": max_texts,
                        "items": {
                            "anyOf": [
                                refer("Text"),
                                {"type": "array", "minItems": 1, "maxItems": 1, "items": refer("Text")},
                            ]
                        },
                    },
                ],
            },
            "raw_scores": {"description": "Return logits.", "type": ["boolean", "null"], "default": False},
            "truncate": {
                "description": "Cut texts as the bundle says. If false, a text that would be cut is refused with 422.",
                "type": ["boolean", "null"],
                "default": True,
            },
            "truncation_direction": {
                "description": "Texts are cut as the bundle says.",
                "type": ["string", "null"],
                "pattern": "^[Rr]ight$",
            },
            **more,
        },
    }


_PARAMETERS: Schema = {
    "description": "What Hugging Face's clients send. The answer is then a list for one text too.",
    "anyOf": [refer("HuggingFaceParameters"), {"type": "null"}],
}
_HUGGING_FACE_PARAMETERS: Schema = {
    "type": "object",
    "properties": {
        "top_k": {"description": "Return only so many labels.", "type": ["integer", "null"], "minimum": 1},
        "function_to_apply": {
            "description": "What turns the logits into scores.",
            "enum": ["softmax", "sigmoid", "none", None],
        },
    },
}

_COUNT: Schema = {"type": "integer", "minimum": 1}
_NULL: Schema = {"type": "null"}
_INFO = make_object(
    {
        "model_id": {"type": "string", "description": "The key `name` of [serve]."},
        "model_sha": {"type": "string", "description": "The bundle's id."},
        "model_dtype": {"type": "string"},
        "served_model_name": {"type": "string"},
        "model_type": make_object(
            {
                "classifier": make_object(
                    {
                        "id2label": {"type": "object", "additionalProperties": {"type": "string"}},
                        "label2id": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
                    }
                )
            }
        ),
        "max_concurrent_requests": _COUNT,
        "max_input_length": {**_COUNT, "description": "Tokens of one row of the model."},
        "max_batch_tokens": _COUNT,
        "max_batch_requests": _NULL,
        "max_client_batch_size": {**_COUNT, "description": "Most texts in a request."},
        "auto_truncate": {"const": True},
        "tokenization_workers": _COUNT,
        "version": {"type": "string", "description": "Version of sentiment-ray."},
        "sha": _NULL,
        "docker_label": _NULL,
        "bundle_id": {"type": "string"},
        "truncation": {
            "description": "Which part of a long text is read.",
            "type": "object",
            "required": ["mode"],
            "properties": {"mode": {"enum": ["head", "tail", "head_tail", "windows"]}},
        },
        "steps": {"description": "Cleaning steps.", "type": "array", "items": {"type": "string"}},
        "engine": {"type": "string"},
        "variant": {"type": "string"},
    }
)
