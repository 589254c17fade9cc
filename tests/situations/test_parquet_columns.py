"""Parquet columns that cannot be used: each job says in one line which file, which column, and what to do."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.situations.run_job import Outcome, run_job

GOOD: dict[str, Any] = {"text": ["a fine pie", "a bad pie"], "label": ["positive", "negative"]}
BUNDLE = Path(__file__).parents[1] / "golden" / "bundle"
JOBS = ("prepare_reviews", "score_reviews", "evaluate_bundle")
pytestmark = pytest.mark.usefixtures("ray_cluster")

SITUATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "numbers": ({"text": [1, 2]}, "the column 'text' holds int64, not texts."),
    "numbers beside texts": ({"text": [1, 2], "body": ["a", "b"]}, "--text-column"),
    "lists": ({"text": [["a"], ["b"]]}, "holds list<element: string>, not texts."),
    "bytes of a fixed size": ({"text": pa.array([b"abcd"] * 2, pa.binary(4))}, "fixed_size_binary[4], not texts."),
    "a dictionary of numbers": ({"text": pa.array([1, 2]).dictionary_encode()}, "not texts. "),
    "another case": ({"text": None, "Text": ["a", "b"]}, "(found: 'label', 'Text'). Did you mean 'Text'?"),
    "a struct": ({"text": None, "review": [{"text": "a"}] * 2}, "'text' is missing (found: 'label', 'review')"),
    "a field of a struct": ({"text": None, "review": [{"text": "a"}] * 2}, "no column: 'review.text'. Write it as"),
    "a struct of this name": ({"text": [{"body": "a", "stars": 1}] * 2}, "no column: 'text.body'. Write it as"),
    "a struct without texts": ({"text": [{"stars": 1}] * 2}, "'text' holds struct<stars: int64>, not texts."),
    "padded twice": ({"text": None, "text ": ["a"] * 2, " text": ["b"] * 2}, "Several names differ from it"),
}  # fmt: skip
"""The columns beside or instead of those of GOOD, None for a column that is not there, and a part of the error."""


def _run(job: str, path: Path, *flags: str) -> Outcome:
    """Run a job on an input; nothing of these inputs reaches the model."""
    bundle = () if job == "prepare_reviews" else ("--bundle", str(BUNDLE), "--engine", "onnxruntime")
    return run_job(job, "--input", str(path), "--output", str(path.parent / "out" / job), *bundle, *flags)


def _write(path: Path, columns: dict[str, Any]) -> Path:
    merged = {name: values for name, values in (GOOD | columns).items() if values is not None}
    parquet.write_table(pa.table(merged), path)
    return path


def _assert_one_line(outcome: Outcome, path: Path, part: str) -> None:
    (line,) = outcome.error_lines
    assert str(path) in line and part in line
    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", SITUATIONS)
def test_a_text_column_that_cannot_be_read_is_refused(tmp_path: Path, job: str, name: str) -> None:
    columns, part = SITUATIONS[name]
    path = _write(tmp_path / "reviews.parquet", columns)
    _assert_one_line(_run(job, path), path, part)


@pytest.mark.parametrize("job", JOBS)
def test_a_field_of_a_struct_is_read_after_the_command_in_the_message(tmp_path: Path, job: str) -> None:
    path = _write(tmp_path / "reviews.parquet", {"text": None, "r": [{"de": {"text": "a"}, "n": 1}, {"n": 2}]})
    outcome = _run(job, path, "--text-column", "r.de.text")
    _assert_one_line(outcome, path, "'r.de.text' is missing (found: 'label', 'r').")
    query = outcome.error_lines[0].partition('duckdb -c "')[2].partition('"')[0]
    duckdb.sql(query.replace("FILE", str(path)).replace("NEW.parquet", str(tmp_path / "new.parquet")))
    assert parquet.read_table(tmp_path / "new.parquet")["new"].to_pylist() == ["a", None]


@pytest.mark.parametrize("job", JOBS)
def test_encrypted_and_doubled_columns_are_named(tmp_path: Path, job: str) -> None:
    encrypted = tmp_path / "encrypted.parquet"
    encrypted.write_bytes(_encrypt())
    _assert_one_line(_run(job, encrypted), encrypted, "encrypted")
    doubled = tmp_path / "doubled.parquet"
    parquet.write_table(pa.table([["a"], ["b"], ["neutral"]], names=["text", "text", "label"]), doubled)
    _assert_one_line(_run(job, doubled), doubled, "'text'")


def test_labels_of_a_wrong_type_are_refused(tmp_path: Path) -> None:
    for job in ("prepare_reviews", "evaluate_bundle"):
        path = _write(tmp_path / f"{job}.parquet", {"label": [["a"], ["b"]]})
        _assert_one_line(_run(job, path), path, "holds list<element: string>, not texts or numbers.")


def test_columns_to_copy_that_do_not_exist_or_have_taken_names_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "reviews.parquet", {"product": [1, 2]})
    for flag, part in (("Product", "Did you mean 'product'?"), ("label", "'label' is a column that prepare_reviews"),
                       ("TEXT", "'TEXT' is a column that prepare"), ("product,product", "named twice")):  # fmt: skip
        outcome = _run("prepare_reviews", path, "--columns", flag)
        assert (outcome.exit_code, len(outcome.error_lines)) == (2, 1)
        assert part in outcome.error_lines[0]


def _encrypt() -> bytes:
    """Return a Parquet file whose footer is encrypted."""
    import base64

    from pyarrow.parquet import encryption

    class Keys(encryption.KmsClient):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            encryption.KmsClient.__init__(self)

        def wrap_key(self, key: bytes, name: str) -> str:
            return base64.b64encode(key).decode()

    factory, config = (
        encryption.CryptoFactory(Keys),
        encryption.EncryptionConfiguration("footer", column_keys={"c": ["text"]}),
    )
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), config)
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(sink, pa.table(GOOD).schema, encryption_properties=properties) as writer:
        writer.write_table(pa.table(GOOD))
    return sink.getvalue().to_pybytes()
