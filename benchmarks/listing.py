"""Measures what an input of many small files costs to list: seconds of the processor, requests to a bucket.

Prints one JSON line for each size. The bucket is that of moto, in a process of its own on this machine.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiobotocore.paginate
import click
import pyarrow as pa
from pyarrow import parquet

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.sources import list_files, make_read_tasks, resolve_paths
from sentiment_ray.input_files.listing import InputFile, list_input
from sentiment_ray.store_location import open_location

ROWS_PER_FILE = 1000
FILES_PER_DIRECTORY = 100
LINKS_PER_FILE = 50_000
"""ext4 allows 65,000 hard links to a file. A hard link is a file of its own for every stage."""
BUCKET = "s3://listing"


@click.command(epilog="\b\nExample:\n  python benchmarks/listing.py --files 10000,100000 --objects 1000,10000")
@click.option("--files", default="10000,100000", help="Numbers of files on the disk.")
@click.option("--objects", default="1000,10000", help="Numbers of files in the bucket.")
@click.option("--workdir", default="runs/benchmarks/listing")
def main(files: str, objects: str, workdir: str) -> None:
    """List inputs of several sizes on the disk and in a bucket."""
    for number in map(int, files.split(",")):
        corpus = make_corpus(Path(workdir) / f"files-{number}", number)
        print_result(measure_disk(corpus, number))
        shutil.rmtree(corpus)
    with bucket():
        for number in map(int, objects.split(",")):
            print_result(measure_bucket(Path(workdir), number))


def make_corpus(directory: Path, number: int) -> Path:
    """Write this many Parquet files of 1,000 rows, 100 in each partition."""
    shutil.rmtree(directory, ignore_errors=True)
    first = directory / "day=0/0.parquet"
    for index in range(number):
        path = directory / f"day={index // FILES_PER_DIRECTORY}/{index}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        if index % LINKS_PER_FILE == 0:
            first = path
            write_rows(path)
        else:
            os.link(first, path)
    return directory


def write_rows(path: Path) -> None:
    """Write one file of 1,000 labelled reviews."""
    texts = [f"review {number} of things" for number in range(ROWS_PER_FILE)]
    labels = [("negative", "neutral", "positive")[number % 3] for number in range(ROWS_PER_FILE)]
    parquet.write_table(pa.table({"text": texts, "label": labels}), path)


def measure_disk(corpus: Path, number: int) -> dict[str, Any]:
    """Return the seconds in which the files are listed, and in which prepare_reviews lists them and reads footers."""
    started = time.process_time()
    assert len(list_parquet(str(corpus))) == number
    listed = time.process_time()
    output = str(corpus.parent / "output")
    config = resolve_paths(PrepareConfig(output=output, sources=[{"path": str(corpus)}]))
    assert len(make_read_tasks(config, list_files(config))) == number
    checked = time.process_time()
    return _describe("disk", number, listed - started) | {"prepare_cpu_s": round(checked - listed, 2)}


def measure_bucket(workdir: Path, number: int) -> dict[str, Any]:
    """Return the seconds and the requests in which the files of a prefix are listed."""
    workdir.mkdir(parents=True, exist_ok=True)
    write_rows(workdir / "rows.parquet")
    content = (workdir / "rows.parquet").read_bytes()
    fs, root = open_location(f"{BUCKET}/{number}")
    fs.pipe({f"{root}/day={index // FILES_PER_DIRECTORY}/{index}.parquet": content for index in range(number)})
    with counted_requests() as requests:
        started = time.process_time()
        assert len(list_parquet(f"{BUCKET}/{number}")) == number
        seconds = time.process_time() - started
    return _describe("bucket", number, seconds) | {"requests": requests.total(), "of_which": dict(requests)}


def list_parquet(location: str) -> list[InputFile]:
    """List an input as score_reviews does."""
    return list_input(location, label="input", formats=("parquet",), keep_defective=True).files


def _describe(where: str, number: int, seconds: float) -> dict[str, Any]:
    return {"where": where, "files": number, "rows": number * ROWS_PER_FILE, "list_cpu_s": round(seconds, 2)}


@contextmanager
def counted_requests() -> Iterator[Counter[str]]:
    """Count the requests to the object store: calls by operation, and further pages of a listing."""
    import s3fs

    counts: Counter[str] = Counter()
    call, page = s3fs.S3FileSystem._call_s3, aiobotocore.paginate.AioPageIterator._make_request

    async def count_call(self: Any, operation: str, *args: Any, **keys: Any) -> Any:
        counts[operation] += 1
        return await call(self, operation, *args, **keys)

    async def count_page(self: Any, current: Any) -> Any:
        counts["page"] += 1
        return await page(self, current)

    s3fs.S3FileSystem._call_s3, aiobotocore.paginate.AioPageIterator._make_request = count_call, count_page
    try:
        yield counts
    finally:
        s3fs.S3FileSystem._call_s3, aiobotocore.paginate.AioPageIterator._make_request = call, page


@contextmanager
def bucket() -> Iterator[None]:
    """Start an S3-compatible server on loopback, with an empty bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        while True:
            try:
                open_location(BUCKET)[0].mkdir(BUCKET.removeprefix("s3://"))
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    run(main)
