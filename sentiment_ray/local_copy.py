"""Brings a small directory of a store onto this machine; knows nothing of its content."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiment_ray.errors import DataError
from sentiment_ray.storage import TEMPORARY_PREFIX, open_store


@contextmanager
def local_copy(location: str, key: str, *, max_files: int, max_bytes: int) -> Iterator[Path]:
    """Yield a local directory with the files of `location`: the directory itself, or a download that is removed later.

    DataError, naming the configuration key, when a URL holds no file, more files or bytes than allowed, or a name that
    leads out of the directory. Nothing is downloaded then.
    """
    store = open_store(location)
    if store.is_local:
        yield Path(store.root)
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as directory:
        files = store.list()
        num_bytes = sum(info.bytes for info in files.values())
        if not files:
            raise DataError(f"{key} = {location!r} holds no files. Correct the URL.")
        if len(files) > max_files or num_bytes > max_bytes:
            raise DataError(
                f"{key} = {location!r} holds {len(files):,} files of {num_bytes:,} bytes together; at most "
                f"{max_files:,} and {max_bytes:,} are downloaded. Correct the URL."
            )
        targets = {name: Path(directory, name).resolve() for name in files}
        for name, target in targets.items():
            if not target.is_relative_to(Path(directory).resolve()):
                raise DataError(f"{key} = {location!r} holds {name!r}, which leads out of it. Remove that file.")
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            store.copy_to(name, target)
        yield Path(directory)
