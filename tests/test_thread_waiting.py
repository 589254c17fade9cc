"""Threads of torch that wait soon sleep, in the driver and in the workers of any cluster."""

import json
import os

import pytest
import ray

from sentiment_ray import cluster
from sentiment_ray.thread_waiting import (
    JOB_CONFIG,
    SHORT_SPINS,
    SPINS,
    WAIT_POLICY,
    let_waiting_threads_sleep,
    list_worker_variables,
)


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variable is set, and what a test sets is forgotten after it."""
    for name in (WAIT_POLICY, SPINS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_waiting_threads_soon_sleep_unless_another_policy_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    let_waiting_threads_sleep()
    assert list_worker_variables() == {SPINS: SHORT_SPINS}
    monkeypatch.delenv(SPINS)
    monkeypatch.setenv(WAIT_POLICY, "ACTIVE")
    let_waiting_threads_sleep()
    assert list_worker_variables() == {WAIT_POLICY: "ACTIVE"}


def test_a_number_of_spins_that_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPINS, "7")
    let_waiting_threads_sleep()
    assert list_worker_variables() == {SPINS: "7"}


def test_a_policy_that_the_job_was_submitted_with_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT_POLICY, "ACTIVE")
    monkeypatch.setenv(JOB_CONFIG, json.dumps({"runtime_env": {"env_vars": {WAIT_POLICY: "ACTIVE"}}}))
    assert list_worker_variables() == {}


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is in no cluster yet; what connecting changes in its environment is forgotten after the test."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1})


def test_workers_of_a_cluster_that_a_job_starts_inherit_the_policy(
    unconnected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("sentiment_ray.cluster_address.find_cluster", lambda: None)
    monkeypatch.setattr(cluster, "_start_cluster", lambda settings: seen.append(os.environ.get(SPINS)))
    cluster.connect()
    assert seen == [SHORT_SPINS]


def test_workers_of_a_cluster_that_a_job_joins_are_given_the_policy(
    unconnected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}
    monkeypatch.setattr(ray, "init", lambda address, **settings: given.update(settings))
    monkeypatch.setattr("sentiment_ray.cluster_address.find_cluster", lambda: "127.0.0.1:1")
    monkeypatch.setattr(cluster, "_warn_when_lost", lambda address: None)
    cluster.connect()
    assert given["runtime_env"] == {"env_vars": {SPINS: SHORT_SPINS}}
