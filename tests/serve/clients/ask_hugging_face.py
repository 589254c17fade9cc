"""Asks a service with the clients of huggingface_hub and prints what they return as JSON: URL [KEY]."""

import asyncio
import json
import sys

import huggingface_hub
from huggingface_hub import AsyncInferenceClient, InferenceClient

TEXT = "What a good day!"


def main(url: str, key: str | None) -> None:
    """Print the answers of the blocking and the asynchronous client."""
    given = {"provider": "hf-inference", "token": key}
    client = InferenceClient(model=url, **given)
    answers = {
        "version": huggingface_hub.__version__,
        "plain": _to_pairs(client.text_classification(TEXT)),
        "top_k": _to_pairs(client.text_classification(TEXT, top_k=1)),
        "sigmoid": _to_pairs(client.text_classification(TEXT, function_to_apply="sigmoid")),
        "none": _to_pairs(client.text_classification(TEXT, function_to_apply="none")),
        "async": _to_pairs(asyncio.run(_ask_async(url, given))),
        "info": client.get_endpoint_info(),
        "health": client.health_check(),
    }
    try:
        client.text_classification("")
    except huggingface_hub.errors.HfHubHTTPError as error:
        answers["error"] = error.response.status_code
    print(json.dumps(answers))


async def _ask_async(url: str, given: dict[str, object]) -> list[object]:
    async with AsyncInferenceClient(model=url, **given) as client:
        return await client.text_classification(TEXT)


def _to_pairs(elements: list[object]) -> list[tuple[str, float]]:
    return [(element.label, element.score) for element in elements]


if __name__ == "__main__":
    main(sys.argv[1], (sys.argv[2:] or [None])[0])
