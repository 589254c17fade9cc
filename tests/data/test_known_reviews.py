"""The known flaws of the sample reviews are found. Slow, because the reviews are downloaded."""

from dataclasses import replace
from pathlib import Path

import pytest
from checked_reviews import get_finding, prepare_sources

from sentiment_ray.samples import DEMO_PINS, IMDB_PINS, ReviewsPin, fetch

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


def test_the_duplicates_of_imdb_and_its_leaked_training_reviews_are_found(tmp_path: Path) -> None:
    train, test = IMDB_PINS
    assert isinstance(test, ReviewsPin)
    whole = replace(test, output="imdb.parquet", not_in=None, rows={"negative": 25_000, "positive": 25_000})
    fetch(tmp_path, pins=(train, whole))
    keys = {"labels": ("negative", "positive"), "against": str(tmp_path / "imdb_train.parquet")}
    manifest = prepare_sources(tmp_path / "out", str(tmp_path / "imdb.parquet"), keep_duplicates=True, **keys)
    checks, equal = manifest["checks"], 0
    for split in checks["leaked"]["by_split"].values():
        equal += split["equal"]
    assert get_finding(checks, "duplicates") == (418, 50_000)
    assert checks["duplicates"]["identical"] == 418
    assert checks["leaked"]["test_set_texts"] == 25_000
    assert equal >= 25_000


def test_the_tweets_that_are_equal_once_masked_are_found(tmp_path: Path) -> None:
    fetch(tmp_path, pins=DEMO_PINS[:1])
    checks = prepare_sources(tmp_path / "out", str(tmp_path / "tweets.parquet"))["checks"]
    assert checks["duplicates"]["identical"] == 915
    assert checks["near_duplicates"]["share_compared"] == 1
    assert checks["near_duplicates"]["equal_once_masked"] >= 2_297
