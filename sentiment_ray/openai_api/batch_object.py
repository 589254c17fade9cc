"""Writes a batch as the API has it."""

from typing import Any

from sentiment_ray.openai_api.tables import Batch

TIMES = ("in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled", "expired")
WINDOW_S = 24 * 3600


def make_batch_object(batch: Batch) -> dict[str, Any]:
    """Return a batch as the API has it. A batch never expires; `expires_at` is the end of its window."""
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": batch.errors,
        "input_file_id": batch.input_file,
        "completion_window": batch.details["completion_window"],
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created_at,
        "expires_at": batch.created_at + WINDOW_S,
        **{f"{name}_at": batch.details.get(f"{name}_at") for name in TIMES},
        "request_counts": batch.counts or {"total": 0, "completed": 0, "failed": 0},
        "metadata": batch.details.get("metadata"),
    }
