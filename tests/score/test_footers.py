"""A broken file is quarantined; a store that does not answer is an error."""

from pathlib import Path

import pytest

from sentiment_ray.errors import StorageError
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.score.footers import read_footer, read_footers
from sentiment_ray.score.score import list_corpus
from sentiment_ray.storage import open_store

NOWHERE = "http://127.0.0.1:9/reviews.parquet"


def test_no_file_is_quarantined_when_the_store_does_not_answer(ray_cluster: None) -> None:
    with pytest.raises(
        StorageError, match=r"reviews\.parquet: .* No row was quarantined .* Run the same command"
    ) as error:
        read_footers([InputFile(NOWHERE, "reviews.parquet", 10, "tag")])
    assert "Traceback" not in str(error.value)


def test_an_input_on_a_store_that_does_not_answer_is_no_bad_input() -> None:
    with pytest.raises(StorageError, match="cannot be reached .* run the same command again when it answers"):
        list_corpus("http://127.0.0.1:9/reviews/", "/nowhere/scores")


def test_a_broken_file_is_quarantined_when_the_store_answers(s3: str, tmp_path: Path) -> None:
    open_store(s3).write("broken/reviews.parquet", b"PAR1 this is no Parquet file PAR1")
    (tmp_path / "reviews.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")
    for path in (f"{s3}/broken/reviews.parquet", str(tmp_path / "reviews.parquet")):
        assert (read_footer(path).reason or "").startswith("not a Parquet file that can be read")
