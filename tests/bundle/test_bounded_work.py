"""Refusing a large hostile file costs seconds and little memory, whatever it holds."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentiment_ray.bundle.files import list_files
from sentiment_ray.errors import BundleError
from tests.hostile.damage import written

MIB = 1 << 20
MANIFEST_BYTES = 16 * MIB - 1
MAX_SECONDS = 60
"""Many times what the command takes. Without bounds these files took minutes to hours, and up to 11 GB."""
MAX_MEMORY_BYTES = 3 << 30
TOO_MANY_VALUES = "holds more than 100,000 values"
COMMAND = str(Path(sys.executable).parent / "sentiment-ray")


def _repeat(start: str, item: Callable[[int], str], end: str, *, num_bytes: int = MANIFEST_BYTES) -> bytes:
    """Return a JSON text of at most `num_bytes` bytes with as many items as fit."""

    def items() -> Iterator[str]:
        left, index = num_bytes - len(start) - len(end), 0
        while (left := left - len(text := item(index)) - 1) >= 0:
            yield text
            index += 1

    return (start + ",".join(items()) + end).encode()


MANIFESTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "long keys, the last one twice": (
        lambda: _repeat('{"training":{', lambda n: f'"{n:0200}":1', ',"b":1,"b":1}}'),
        "the key 'b' comes twice",
    ),
    "a long key twice": (
        lambda: b'{"%s":1,"%s":1}' % (b"k" * (8 * MIB - 10), b"k" * (8 * MIB - 10)),
        "comes twice",
    ),
    "millions of files": (lambda: _repeat('{"files":{', lambda n: f'"{n:x}":1', "}}"), TOO_MANY_VALUES),
    "millions of steps that are not texts": (lambda: _repeat('{"steps":[', lambda n: "1", "]}"), TOO_MANY_VALUES),
    "millions of unknown keys": (lambda: _repeat("{", lambda n: f'"{n:x}":1', "}"), TOO_MANY_VALUES),
    "millions of empty lists": (lambda: _repeat('{"training":{"a":[', lambda n: "[]", "]}}"), TOO_MANY_VALUES),
    "many short chains of lists": (
        lambda: _repeat('{"training":{"a":[', lambda n: "[" * 28 + "]" * 28, "]}}"),
        TOO_MANY_VALUES,
    ),
    "thousands of long numbers": (
        lambda: _repeat('{"training":{"a":[', lambda n: "9" * 4000, "]}}"),
        "is out of range",
    ),
    "a format version without end": (
        lambda: b'{"format_version":"%s"}' % (b"1" * (15 * MIB)),
        "format_version is '1111",
    ),
    "a label without end": (
        lambda: b'{"format_version":1,"labels":["%s"]}' % (b"a" * (15 * MIB)),
        "bundle_id: Field required",
    ),
    "as many wrong values as may come": (
        lambda: _repeat('{"format_version":1,"steps":[', lambda n: "1", "]}", num_bytes=190_000),
        "bundle_id: Field required",
    ),
}


def _verify(path: Path) -> str:
    """Return what the command says of a bundle that it refuses, within the limits of time and memory."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))

    done = subprocess.run(
        [COMMAND, "verify", str(path)], capture_output=True, text=True, timeout=MAX_SECONDS, preexec_fn=limit
    )
    assert done.returncode == 2, done.stderr[-1000:]
    assert len(done.stderr) < 1000
    return done.stderr


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_large_manifest_is_refused_quickly(tmp_path: Path, name: str) -> None:
    make, refusal = MANIFESTS[name]
    data = make()
    assert len(data) < 16 * MIB
    (tmp_path / "bundle.json").write_bytes(data)
    assert refusal in _verify(tmp_path)


@pytest.mark.parametrize(
    ("name", "num_bytes"), [("config.json", MIB), ("special_tokens_map.json", MIB), ("tokenizer.json", 16 * MIB)]
)
def test_a_large_file_with_a_late_duplicate_key_is_refused_quickly(
    bundle: Path, tmp_path: Path, name: str, num_bytes: int
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    written(name, _repeat("{", lambda n: f'"{n:x}":1', ',"b b":1,"b b":1}', num_bytes=num_bytes))(copy)
    assert "the key 'b b' comes twice" in _verify(copy)


def test_a_directory_of_many_files_is_refused_before_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2000):
        (tmp_path / f"{number}").touch()
    looked_at: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: (looked_at.append(str(path)), lstat(path))[1])
    with pytest.raises(BundleError, match="holds more than 64 files"):
        list_files(tmp_path, folders=())
    assert len(looked_at) <= 64
