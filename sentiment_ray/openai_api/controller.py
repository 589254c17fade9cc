"""Moves jobs and batches on: compares the rows with what is there, and does the next step; in a thread of its own.

It keeps nothing in memory that matters, so after a crash the next service goes on where the last one stopped.
"""

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sqlalchemy import select

from sentiment_ray.log import log_bug
from sentiment_ray.openai_api import batch_work
from sentiment_ray.openai_api.attempts import Attempts
from sentiment_ray.openai_api.batch_work import BatchWork
from sentiment_ray.openai_api.fine_tune import ENDED, FineTunes
from sentiment_ray.openai_api.launcher import ClusterAwayError, Launcher, choose_launcher
from sentiment_ray.openai_api.lease import LeaseHolder
from sentiment_ray.openai_api.service import Service
from sentiment_ray.openai_api.tables import Attempt, Batch, Job

LOOK_EVERY_S = 1.0
NUM_THREADS = 4
MAX_STEP_FAILURES = 30
"""A step that has failed so often in a row will not succeed any more."""


class Controller:
    """The thread that moves the jobs and batches of a service on."""

    def __init__(self, service: Service, launcher: Launcher | None = None) -> None:
        self._service = service
        self._database = service.database
        self._launcher = launcher or choose_launcher(service.config.cpus_per_job)
        self._attempts = Attempts(service.database, self._launcher)
        self._fine_tunes = FineTunes(service, self._attempts)
        self._batches = BatchWork(service, self._attempts)
        self._lease = LeaseHolder(service.database, "controller")
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)
        self._is_stopping = threading.Event()
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="controller")
        self._steps: dict[str, Future[None]] = {}
        """The step of each job and batch that is being done now."""
        self._num_failures: dict[str, int] = {}
        """How often in a row the step of a job or a batch has failed."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is being done; what runs for a job runs on."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                if self._lease.renew():
                    self.look_once()
            except ClusterAwayError:
                pass
            except Exception as bug:  # a database that is away for a while ends no service
                log_bug(bug, "the controller")
            self._is_stopping.wait(LOOK_EVERY_S)
        try:
            self._lease.release()
        except Exception as bug:
            log_bug(bug, "the controller")

    def look_once(self) -> None:
        """Start what there is room for, and the next step of everything that is not done."""
        jobs = self._list_jobs()
        running = self._attempts.list_running()
        self._start_queued(jobs, running)
        for job in jobs:
            if job.status != "queued" or job.id in running:
                self._begin_step(self._fine_tunes, job)
        for batch in self._select_batches(self._list_batches(), running):
            self._begin_step(self._batches, batch)

    def _list_jobs(self) -> Sequence[Job]:
        """Return the jobs that have not ended, and those that have and still run; the oldest first."""
        running = select(Attempt.owner_id).where(Attempt.ended_at.is_(None))
        is_open = Job.status.not_in(ENDED | {"paused"}) | Job.id.in_(running)
        with self._database.read_session() as session:
            return session.scalars(select(Job).where(is_open).order_by(Job.created_at, Job.id)).all()

    def _start_queued(self, jobs: Sequence[Job], running: Collection[str]) -> None:
        """Start queued jobs as far as there is room. One that was paused or cancelled may still take its room."""
        queued = [job for job in jobs if job.status == "queued" and job.id not in running]
        if queued:
            num_taken = sum(job.status == "running" or job.id in running for job in jobs)
            for job in queued[: max(0, self._count_slots() - num_taken)]:
                self._fine_tunes.start(job)

    def _list_batches(self) -> Sequence[Batch]:
        """Return the batches that have not ended, the oldest first."""
        with self._database.read_session() as session:
            is_open = Batch.status.not_in(batch_work.ENDED)
            return session.scalars(select(Batch).where(is_open).order_by(Batch.created_at, Batch.id)).all()

    def _select_batches(self, batches: Sequence[Batch], running: Collection[str]) -> list[Batch]:
        """Return the batches whose next step can be done: of those to be scored, as many as may run at once."""
        scored = [batch for batch in batches if batch.status == "in_progress"]
        num_slots = self._count_slots() if scored else 0
        first = sorted(scored, key=lambda batch: batch.id not in running)[:num_slots]
        return [batch for batch in batches if batch.status != "in_progress" or batch in first]

    def _count_slots(self) -> int:
        return self._service.config.max_running_jobs or self._launcher.count_slots()

    def _begin_step(self, work: FineTunes | BatchWork, row: Any) -> None:
        """Do the next step of an object in a thread, unless one is being done."""
        last = self._steps.get(row.id)
        if last is not None and not last.done():
            return
        self._steps = {key: step for key, step in self._steps.items() if not step.done()}
        self._steps[row.id] = self._pool.submit(self._do_step, work, row)

    def _do_step(self, work: FineTunes | BatchWork, row: Any) -> None:
        try:
            work.advance(row)
            self._num_failures.pop(row.id, None)
        except ClusterAwayError:  # what runs there may go on; the next look asks again
            pass
        except Exception as bug:
            log_bug(bug, f"the next step of {row.id}")
            self._num_failures[row.id] = self._num_failures.get(row.id, 0) + 1
            if self._num_failures[row.id] >= MAX_STEP_FAILURES:
                work.give_up(row)
