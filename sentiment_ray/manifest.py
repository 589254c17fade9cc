"""Hashes, and directories that appear whole or not at all; knows nothing of what stands in them."""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentiment_ray.errors import ConfigError, DataError

HALF_WRITTEN = re.compile(r"\..+\.json\.[0-9a-f]{8}")


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON-like value, the same for the same content on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    # Names of files may hold bytes that are no UTF-8, which Python carries as lone surrogates.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def describe_files(paths: list[Path]) -> list[dict[str, Any]]:
    """Return path, size and modification time of each file: enough to see that an input has changed."""
    stats = [(path, path.stat()) for path in paths]
    return [{"path": str(path), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns} for path, stat in stats]


def local_path(path: str | Path, key: str) -> Path:
    """Return an absolute local path; ConfigError for a URL, naming the configuration key.

    Ray's workers change their working directory, so no relative path may reach them.
    """
    if "://" in str(path):
        raise ConfigError(f"{key} = {str(path)!r} is a URL; this stage works on local paths. Copy it to a local disk.")
    return Path(os.path.abspath(Path(path).expanduser()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; DataError naming the file if it is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the stage that writes it first.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as JSON ({error}): write it again with the stage that made it."
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not a JSON object: write it again.")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON in one atomic step (temporary file, fsync, rename)."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def finished_result(
    output: Path,
    manifest_name: str,
    wanted: str,
    *,
    restart: bool,
    difference: Callable[[dict[str, Any]], str] = lambda _: "",
) -> dict[str, Any] | None:
    """Return the manifest that stands in `output` if it was made from the same input and configuration.

    None when there is nothing, or when `restart` allows an earlier result to be replaced. ConfigError when something
    else is there: an earlier result is never overwritten without being asked to, and what is no result never.
    `difference` says in what the manifest that was found is another.
    """
    path = output / manifest_name
    manifest = read_json(path) if path.is_file() else {}
    if "fingerprint" not in manifest:
        if output.exists() and not (output.is_dir() and all(map(_is_half_written, output.iterdir()))):
            raise ConfigError(
                f"output = {str(output)!r} already exists and is no result with a {manifest_name}. Name another output."
            )
        return None
    if manifest["fingerprint"] == wanted:
        return manifest
    if restart:
        return None
    changed = difference(manifest)
    raise ConfigError(
        f"output = {str(output)!r} already exists and holds a result of another input or configuration"
        f"{f' ({changed})' if changed else ''}. "
        "Name another output, or pass --restart to replace it."
    )


def _is_half_written(path: Path) -> bool:
    """Whether a file is one that write_json was about to give its name when the process ended."""
    return bool(HALF_WRITTEN.fullmatch(path.name))


def remove_all(directory: Path, *names: str) -> None:
    """Remove some files and directories of a directory, and nothing else that stands there."""
    for path in (directory / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def refuse_mount(output: Path) -> None:
    """ConfigError for a directory that cannot be replaced in one step, since a file system is mounted there."""
    if output.resolve().is_mount():
        raise ConfigError(f"output = {str(output)!r} is where a file system is mounted. Name a directory in it.")


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `final` that takes its name, whole, when the block ends well.

    When the block raises, the temporary directory is removed and whatever stood at `final` is untouched. ConfigError
    for the root of a file system, which cannot be renamed.
    """
    refuse_mount(final)
    final = final.resolve()  # a link stays, and what it points at is replaced
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
