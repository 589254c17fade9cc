"""Limits how many requests a project makes in a minute; counts in this process."""

import math
import time

from sentiment_ray.openai_api.api_error import over_quota

PERIOD_S = 60.0


class RequestQuota:
    """Counts the requests of each project, from a minute's first one on."""

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self._counted: dict[str, tuple[float, int]] = {}
        """For each project the start of its minute, and its requests since then."""

    def count(self, project_id: str) -> None:
        """Count a request; ApiError with 429 when it is one too many."""
        now_s = time.monotonic()
        start_s, num_requests = self._counted.get(project_id, (now_s, 0))
        if now_s - start_s >= PERIOD_S:
            start_s, num_requests = now_s, 0
        if num_requests >= self._max_requests:
            message = f"Rate limit reached: {self._max_requests} requests a minute. Send the next one later."
            raise over_quota(message, retry_after_s=max(1, math.ceil(start_s + PERIOD_S - now_s)))
        self._counted[project_id] = (start_s, num_requests + 1)
