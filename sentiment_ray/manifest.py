"""Hashes, JSON files, and directories that appear whole or not at all. Knows nothing of what stages put in them."""

import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentiment_ray.errors import ConfigError, DataError

UNFINISHED_JSON = re.compile(r"\..+\.json\.[0-9a-f]{8}")


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON-like value: the same for equal content on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    # A file name may have bytes that are not UTF-8; Python keeps them as lone surrogates.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def describe_files(paths: list[Path]) -> list[dict[str, Any]]:
    """Return path, size and modification time of each file, to see later whether it changed."""
    stats = [(path, path.stat()) for path in paths]
    return [{"path": str(path), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns} for path, stat in stats]


def local_path(path: str | Path, key: str) -> Path:
    """Return an absolute local path. ConfigError for a URL, naming the configuration key.

    Ray's workers run in another directory, so a relative path would lead them elsewhere.
    """
    if "://" in str(path):
        raise ConfigError(f"{key} = {str(path)!r} is a URL; this stage works on local paths. Copy it to a local disk.")
    return Path(os.path.abspath(Path(path).expanduser()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. DataError, naming the file, when it is missing or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the stage that writes it first.") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError also for bytes that are not UTF-8
        raise DataError(
            f"{path} cannot be read as JSON ({error}): write it again with the stage that made it."
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not a JSON object: write it again.")
    return value


def format_json(value: Any, **options: Any) -> str:
    """Return a value as JSON text; `options` are those of json.dumps.

    NaN and infinite numbers, which JSON does not have, become null. Every JSON text of this project is made here.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_replace_non_finite(value), allow_nan=False, **options)


def _replace_non_finite(value: Any) -> Any:
    """Return a JSON-like value with None instead of each number that is NaN or infinite."""
    if isinstance(value, dict):
        return {key: _replace_non_finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON in one step: a temporary file, fsync and rename."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(format_json(value, indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def find_finished_result(
    output: Path,
    manifest_name: str,
    wanted: str,
    *,
    restart: bool,
    describe_difference: Callable[[dict[str, Any]], str] = lambda _: "",
) -> dict[str, Any] | None:
    """Return the manifest in `output` if it was made from the same input and configuration, by its fingerprint.

    None when the output does not exist, or when `restart` allows to replace an earlier result. ConfigError otherwise:
    another result is replaced only on request, and a directory without a result never. `describe_difference` tells
    from the earlier manifest what differs.
    """
    path = output / manifest_name
    manifest = read_json(path) if path.is_file() else {}
    if "fingerprint" not in manifest:
        if output.exists() and not (output.is_dir() and all(map(_is_unfinished_json, output.iterdir()))):
            raise ConfigError(
                f"output = {str(output)!r} exists and holds no result with a {manifest_name}. Name another output."
            )
        return None
    if manifest["fingerprint"] == wanted:
        return manifest
    if restart:
        return None
    difference = describe_difference(manifest)
    raise ConfigError(
        f"output = {str(output)!r} already exists and holds a result of another input or configuration"
        f"{f' ({difference})' if difference else ''}. "
        "Name another output, or pass --restart to replace it."
    )


def _is_unfinished_json(path: Path) -> bool:
    """Whether a file is a temporary one of `write_json`, left when the process ended before the rename."""
    return bool(UNFINISHED_JSON.fullmatch(path.name))


def remove_all(directory: Path, *names: str) -> None:
    """Remove the named files and directories of a directory, and nothing else in it."""
    for path in (directory / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def refuse_mount(output: Path) -> None:
    """Raise ConfigError for a mount point: it cannot be renamed, and so not replaced in one step."""
    if output.resolve().is_mount():
        raise ConfigError(f"output = {str(output)!r} is a mount point. Name a directory inside it.")


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `final` that gets its name when the block ends without an error.

    If the block raises, the temporary directory is removed and `final` stays as it was. ConfigError for a mount point.
    """
    refuse_mount(final)
    final = final.resolve()  # a link is kept, and its target is replaced
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        if final.exists():
            retired = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
            final.rename(retired)
            temporary.rename(final)
            shutil.rmtree(retired)
        else:
            temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
