"""Listings as tables: page by page on an object store, and compared by name and size."""

from pathlib import Path

import pytest

from sentiment_ray import listing_pages
from sentiment_ray.score.file_tables import WrittenFile, compare_sizes, list_files, make_written_table, read_names
from sentiment_ray.storage import open_store


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_a_listing_by_pages_is_that_of_the_whole_store(s3: str, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_pages, "PAGE", page)
    store = open_store(f"{s3}/pages/run[1]")
    for name in ("a", "b/c", "b[1]/d", "e f"):
        store.write(name, name.encode())
    open_store(f"{s3}/pages/run[1]0").write("other", b"1")
    for under in ("", "b", "b[1]", "nothing"):
        table = list_files(store, under)
        found = dict(zip(read_names(table), zip(*table.columns[1:], strict=True), strict=True))
        expected = store.list(under)
        assert {name: (size.as_py(), version.as_py()) for name, (size, version) in found.items()} == {
            name: (info.bytes, info.version) for name, info in expected.items()
        }


def test_sizes_are_compared_by_name(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for name in ("a", "b\udcff", "c"):
        store.write(name, b"12")
    written = make_written_table({name: WrittenFile(size, "0") for name, size in (("c", 2), ("b\udcff", 3), ("d", 2))})
    present = list_files(store)
    rows, is_same = compare_sizes(written, present)
    assert [read_names(present)[row] if row >= 0 else None for row in rows] == ["c", "b\udcff", None]
    assert is_same.tolist() == [True, False, False]
