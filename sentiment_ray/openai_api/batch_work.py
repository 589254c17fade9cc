"""Moves one batch on: checks its file, scores its texts with a command, writes its answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from sentiment_ray.bundle.manifest import MANIFEST_NAME
from sentiment_ray.bundle.open import open_bundle
from sentiment_ray.openai_api.api_error import ApiError
from sentiment_ray.openai_api.attempts import Attempts
from sentiment_ray.openai_api.batch_endpoints import ENDPOINTS
from sentiment_ray.openai_api.batch_file import (
    BatchRequest,
    InvalidBatchFileError,
    check_batch_file,
    read_batch_file,
)
from sentiment_ray.openai_api.batch_files import BatchModel, write_answers, write_requests
from sentiment_ray.openai_api.database import change_status
from sentiment_ray.openai_api.files import BATCH_OUTPUT, add_result_file
from sentiment_ray.openai_api.ids import make_result_id, now_s
from sentiment_ray.openai_api.model_answers import read_model_answers
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import Batch

ENDED = frozenset({"completed", "failed", "cancelled", "expired"})
NAMES = ("output", "error")
REQUESTS_NAME, OUTPUT_NAME, ERRORS_NAME = "requests.parquet", "output.jsonl", "errors.jsonl"
UNIT_ROWS = 20_000
"""Texts that are scored again at most after a worker was killed."""
SERVER_ERROR = "The batch failed because of an error of the server. Create it again; the server's log says more."


class BatchWork:
    """Moves batches on. Every method can be called again after a crash at any moment."""

    def __init__(self, service: Service, attempts: Attempts) -> None:
        self.service, self.attempts = service, attempts

    def advance(self, batch: Batch) -> None:
        """Do the next step of a batch, according to its status."""
        if batch.status == "validating":
            self._validate(batch)
        elif batch.status == "in_progress":
            self._score(batch)
        elif batch.status == "finalizing":
            self._finish(batch)
        elif self.attempts.stop(batch.id, self._directory(batch)) and batch.status == "cancelling":
            self._change(batch, "cancelled")

    def _validate(self, batch: Batch) -> None:
        config = self.service.config
        try:
            checked = check_batch_file(
                self._input_path(batch),
                endpoint=batch.endpoint,
                max_requests=config.max_batch_requests,
                max_line_bytes=config.max_line_bytes,
            )
        except InvalidBatchFileError as error:
            self._fail(batch, error.errors)
            return
        try:
            bundle = self.service.models.find_bundle(batch.project_id, checked.model)
        except ApiError as error:
            self._fail(batch, [{"code": error.code, "message": error.message, "param": "body.model", "line": 1}])
            return
        if not (bundle / MANIFEST_NAME).is_file():  # a base model that is being exported; the next look asks again
            self.service.models.base_models.start()
            return
        directory = self._directory(batch)
        directory.mkdir(parents=True, exist_ok=True)
        model = self._open_model(batch, checked.model, bundle)
        num_rows = write_requests(self._read_requests(batch), model, directory / REQUESTS_NAME)
        counts = {"total": checked.num_requests, "completed": 0, "failed": 0}
        new = "in_progress" if num_rows else "finalizing"
        self._change(batch, new, counts=counts, model=checked.model, bundle=str(bundle))

    def _score(self, batch: Batch) -> None:
        directory = self._directory(batch)
        arguments = [
            "-m", "jobs.score_reviews", "--bundle", batch.details["bundle"], "--input", str(directory / REQUESTS_NAME),
            "--output", str(directory / "scores"), "--columns", "line", "--unit-rows", str(UNIT_ROWS),
            "--max-quarantined", "1",
        ]  # fmt: skip
        outcome = self.attempts.run(batch.id, directory, arguments)
        if outcome.status == "succeeded":
            self._change(batch, "finalizing")
        elif outcome.status != "running":
            self.give_up(batch)

    def give_up(self, batch: Batch) -> None:
        """Fail a batch whose steps fail by an error of the server."""
        self._fail(batch, [{"code": "server_error", "message": SERVER_ERROR, "param": None, "line": None}])

    def _finish(self, batch: Batch) -> None:
        """Write the answers and register their files, in the same step as the status."""
        directory = self._directory(batch)
        output, errors, scores = directory / OUTPUT_NAME, directory / ERRORS_NAME, directory / "scores"
        model = self._open_model(batch, batch.model or "", Path(batch.details["bundle"]))
        has_scores = (scores / "_SUCCESS").is_file()
        requests = self._read_requests(batch)
        counts = write_answers(requests, model, scores if has_scores else None, output, errors)
        ids = [make_result_id(name, batch.id) if count else None for name, count in zip(NAMES, counts, strict=True)]
        totals = {"total": sum(counts), "completed": counts[0], "failed": counts[1]}
        with self.service.database.session() as session:
            is_first = self._change_in(
                session, batch, "completed", counts=totals, output_file=ids[0], error_file=ids[1]
            )
            for name, path, file_id in zip(NAMES, (output, errors), ids, strict=True):
                if is_first and file_id:
                    add_result_file(
                        self.service, session, project_id=batch.project_id, source=path,
                        filename=f"{batch.id}_{name}.jsonl", purpose=BATCH_OUTPUT, file_id=file_id,
                    )  # fmt: skip

    def _change(self, batch: Batch, new: str, **values: Any) -> None:
        with self.service.database.session() as session:
            self._change_in(session, batch, new, **values)

    def _change_in(self, session: Session, batch: Batch, new: str, **values: Any) -> bool:
        """Give a batch its next status unless its project has cancelled it meanwhile; return whether it was given."""
        details = batch.details | {f"{new}_at": now_s()}
        if "bundle" in values:
            details["bundle"] = values.pop("bundle")
        return change_status(session, batch, expected=batch.status, new=new, details=details, **values)

    def _fail(self, batch: Batch, errors: list[dict[str, Any]]) -> None:
        self._change(batch, "failed", errors={"object": "list", "data": errors})

    def _open_model(self, batch: Batch, model: str, bundle: Path) -> BatchModel:
        answers = read_model_answers(model, open_bundle(bundle).manifest)
        return BatchModel(ENDPOINTS[batch.endpoint], answers, self.service.config.unknown_system_message)

    def _read_requests(self, batch: Batch) -> Iterator[BatchRequest]:
        return read_batch_file(self._input_path(batch), max_line_bytes=self.service.config.max_line_bytes)

    def _input_path(self, batch: Batch) -> Path:
        return self.service.state / "files" / batch.input_file

    def _directory(self, batch: Batch) -> Path:
        return self.service.state / "batches" / batch.id
