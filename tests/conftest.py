"""What tests share: one small Ray cluster for the whole session."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A cluster of two CPUs on this machine; stages that connect find it."""
    import ray

    ray.init(num_cpus=2, object_store_memory=200e6, include_dashboard=False)
    yield
    ray.shutdown()
