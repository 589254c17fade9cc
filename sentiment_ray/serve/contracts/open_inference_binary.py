"""The binary tensor extension of the Open Inference Protocol: tensors as bytes behind the JSON of a body.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sentiment_ray.serve.http import Refusal
from sentiment_ray.serve.json_body import read_integer

HEADER = "inference-header-content-length"
"""Header that says how many bytes of a body are its JSON; the bytes of the tensors follow."""
LENGTH_BYTES = 4


def split_body(headers: Mapping[str, str], body: bytes) -> tuple[bytes, memoryview]:
    """Return the JSON of a body, and the bytes behind it. Refusal with 400 when the header names no such length."""
    given = headers.get(HEADER)
    if given is None:
        return body, memoryview(b"")
    length = int(given) if given.isdecimal() and len(given) < 19 else -1
    if not 0 <= length <= len(body):
        raise Refusal(400, f"Inference-Header-Content-Length is no length of the JSON in a body of {len(body)} bytes.")
    return body[:length], memoryview(body)[length:]


def decode_texts(data: memoryview, num_texts: int, name: str) -> list[str]:
    """Return the texts of a tensor of BYTES: each is a little-endian length of 4 bytes and UTF-8.

    Refusal with 400 when the bytes are no such tensor, or when a text is not UTF-8.
    """
    texts: list[str] = []
    start = 0
    while start < len(data):
        end = start + LENGTH_BYTES + int.from_bytes(data[start : start + LENGTH_BYTES], "little")
        if start + LENGTH_BYTES > len(data) or end > len(data):
            raise Refusal(400, f"{name}[{len(texts)}] ends behind the last byte of the tensor.")
        try:
            texts.append(str(data[start + LENGTH_BYTES : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise Refusal(
                400, f"{name}[{len(texts)}] is not UTF-8: its byte {error.start} is wrong. Encode it as UTF-8."
            ) from None
        start = end
    if len(texts) != num_texts:
        raise Refusal(422, f"{name} has the shape of {num_texts} texts, and its bytes hold {len(texts)}.")
    return texts


def encode_texts(texts: Sequence[str]) -> bytes:
    """Return texts as the bytes of a tensor of BYTES."""
    encoded = [text.encode() for text in texts]
    return b"".join(len(text).to_bytes(LENGTH_BYTES, "little") + text for text in encoded)


def read_size(parameters: Mapping[str, Any], name: str) -> int | None:
    """Return how many bytes behind the JSON belong to a tensor; None when its data are in the JSON."""
    given = parameters.get("binary_data_size")
    if given is None:
        return None
    size = read_integer(given)
    if size is None or size < 0:
        raise Refusal(422, f"{name}: binary_data_size is no number of bytes.")
    return size
