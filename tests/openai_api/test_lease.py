"""One process at a time holds the lease; it is taken over when the holder has died or is silent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment_ray.openai_api import lease
from sentiment_ray.openai_api.database import Database, open_database
from sentiment_ray.openai_api.lease import LeaseHolder


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, None)
    yield database
    database.close()


def test_only_one_holds_the_lease_until_it_is_released(database: Database) -> None:
    first, second = LeaseHolder(database, "work"), LeaseHolder(database, "work")
    assert first.renew() and first.renew()
    assert not second.renew()
    first.release()
    assert second.renew()
    assert not first.renew()


def test_the_lease_of_a_dead_process_is_taken_over_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = LeaseHolder(database, "work"), LeaseHolder(database, "work")
    assert first.renew() and not second.renew()
    monkeypatch.setattr(lease, "is_alive", lambda process: False)
    assert second.renew()


def test_a_lease_that_stays_unchanged_is_taken_over(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = LeaseHolder(database, "work"), LeaseHolder(database, "work")
    assert first.renew() and not second.renew()
    assert first.renew()
    monkeypatch.setattr(lease, "STALE_S", 0.0)
    assert second.renew()


def test_leases_of_other_names_are_others(database: Database) -> None:
    assert LeaseHolder(database, "work").renew()
    assert LeaseHolder(database, "other").renew()
