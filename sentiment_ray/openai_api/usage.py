"""Counts the tokens of a request and its answer, as the API reports them."""

from typing import Any


def make_chat_usage(num_read: int, num_answered: int) -> dict[str, Any]:
    """Return `usage` of a chat: the tokens that the model read of the text, and those of all choices."""
    return {
        "prompt_tokens": num_read,
        "completion_tokens": num_answered,
        "total_tokens": num_read + num_answered,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def make_usage(num_read: int, num_answered: int) -> dict[str, Any]:
    """Return `usage` of a response or a decision."""
    return {
        "input_tokens": num_read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": num_answered,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": num_read + num_answered,
    }
