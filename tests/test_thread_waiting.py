"""Threads of torch that wait sleep, in the driver and in the workers of any cluster."""

import json
import os

import pytest
import ray

from sentiment_ray import cluster
from sentiment_ray.thread_waiting import (
    JOB_CONFIG,
    SLEEP,
    WAIT_POLICY,
    let_waiting_threads_sleep,
    list_worker_variables,
)


def test_waiting_threads_sleep_unless_another_policy_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WAIT_POLICY)
    let_waiting_threads_sleep()
    assert os.environ[WAIT_POLICY] == SLEEP
    monkeypatch.setenv(WAIT_POLICY, "ACTIVE")
    let_waiting_threads_sleep()
    assert list_worker_variables() == {WAIT_POLICY: "ACTIVE"}


def test_a_policy_that_the_job_was_submitted_with_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_CONFIG, json.dumps({"runtime_env": {"env_vars": {WAIT_POLICY: "ACTIVE"}}}))
    assert list_worker_variables() == {}


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is in no cluster yet, and whose policy is not set."""
    monkeypatch.delenv(WAIT_POLICY)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1})


def test_workers_of_a_cluster_that_a_job_starts_inherit_the_policy(
    unconnected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("sentiment_ray.cluster_address.find_cluster", lambda: None)
    monkeypatch.setattr(cluster, "_start_cluster", lambda settings: seen.append(os.environ.get(WAIT_POLICY)))
    cluster.connect()
    assert seen == [SLEEP]


def test_workers_of_a_cluster_that_a_job_joins_are_given_the_policy(
    unconnected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}
    monkeypatch.setattr(ray, "init", lambda address, **settings: given.update(settings))
    monkeypatch.setattr("sentiment_ray.cluster_address.find_cluster", lambda: "127.0.0.1:1")
    monkeypatch.setattr(cluster, "_warn_when_lost", lambda address: None)
    cluster.connect()
    assert given["runtime_env"] == {"env_vars": {WAIT_POLICY: SLEEP}}
