"""Writes a fine-tuning job as the API has it."""

from typing import Any

from sentiment_ray.openai_api.tables import Job


def make_job_object(job: Job, organization: str) -> dict[str, Any]:
    """Return a job as the API has it; hyperparameters that were `auto` are numbers once the training has begun."""
    hyperparameters = job.chosen or job.hyperparameters
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "created_at": job.created_at,
        "error": job.error,
        "estimated_finish": None,
        "fine_tuned_model": job.fine_tuned_model,
        "finished_at": job.finished_at,
        "hyperparameters": hyperparameters,
        "integrations": [],
        "metadata": job.details.get("metadata"),
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "model": job.model,
        "organization_id": organization,
        "result_files": job.result_files,
        "seed": job.seed,
        "status": job.status,
        "trained_tokens": job.trained_tokens,
        "training_file": job.training_file,
        "user_provided_suffix": job.suffix,
        "validation_file": job.validation_file,
    }
