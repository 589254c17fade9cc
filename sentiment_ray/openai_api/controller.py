"""Moves jobs and batches on: compares the rows with what is there, and does the next step; in a thread of its own."""

from sentiment_ray.openai_api.service import Service


class Controller:
    """The thread that moves the jobs and batches of a service on."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End after the step that is being done; what runs for a job runs on."""
