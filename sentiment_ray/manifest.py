"""Hashes, JSON files, and the manifest by which a stage recognises its finished result. Knows no stage."""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentiment_ray.atomic_files import write_file
from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.file_content import describe_json_fault
from sentiment_ray.paths import check_output, refuse_file, refuse_other_files

UNFINISHED_JSON = re.compile(r"\..+\.json\.[0-9a-f]{8}")
LOCK_DIRECTORY = ".lock"
"""Directory of a lock in an output; see `output_lock.py`."""


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON-like value: the same for equal content on every machine."""
    return hashlib.sha256(encode_canonically(value)).hexdigest()


def encode_canonically(value: Any) -> bytes:
    """Return a JSON-like value as JSON that is the same for equal content on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    # A file name may have bytes that are not UTF-8; Python keeps them as lone surrogates.
    return text.encode("utf-8", "surrogatepass")


def describe_files(paths: list[Path]) -> list[dict[str, Any]]:
    """Return path, size and modification time of each file, to see later whether it changed."""
    stats = [(path, path.stat()) for path in paths]
    return [{"path": str(path), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns} for path, stat in stats]


def describe_inputs(paths: list[Path], earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return path, size and modification time of each file; of one that was touched, the time that it had in `earlier`.

    A file was touched when its time changed and its size and its sha256 did not. `earlier` is what `add_hashes`
    returned when the result was made; without a sha256 in it, every file with another time counts as changed.
    """
    known = {file.get("path"): file for file in earlier if "sha256" in file}
    files = describe_files(paths)
    for file in files:
        before = known.get(file["path"])
        may_be_equal = (
            before and before.get("bytes") == file["bytes"] and before.get("modified_ns") != file["modified_ns"]
        )
        if before and may_be_equal and hash_file(Path(file["path"])) == before["sha256"]:
            file["modified_ns"] = before["modified_ns"]
    return files


def read_earlier(path: Path) -> dict[str, Any]:
    """Return the manifest of an earlier result, or nothing when there is none that can be read."""
    try:
        return read_json(path)
    except DataError:
        return {}


def add_hashes(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return described files with their sha256. Call it before they are read: then a later change is noticed."""
    return [file | {"sha256": hash_file(Path(file["path"]))} for file in files]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. DataError, naming the file, when it is missing or holds something else."""
    remedy = "Write it again with the stage that made it."
    data = b""
    try:
        data = path.read_bytes()
        value = json.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run the stage that writes it first.") from None
    except ValueError as error:  # also for bytes that are not UTF-8
        raise DataError(f"{path} {describe_json_fault(data, error, remedy=remedy)}") from None
    except (OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). {remedy}") from None
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
    """Write a value as indented JSON in one step."""
    text = format_json(value, indent=2, ensure_ascii=False)
    write_file(path, f"{text}\n".encode())


def find_finished_result(
    output: Path,
    manifest_name: str,
    wanted: str,
    *,
    restart: bool,
    own_files: Callable[[str], object] | None,
    describe_difference: Callable[[dict[str, Any]], str] = lambda _: "",
    remedy: str = "",
) -> dict[str, Any] | None:
    """Return the manifest in `output` if it was made from the same input and configuration, by its fingerprint.

    None when the stage has to run: the output does not exist, or `restart` allows to replace an earlier result. Then it
    can be written. ConfigError otherwise: another result is replaced only on request, and a directory without a result
    never. `describe_difference` tells from the earlier manifest what differs, and `remedy` a way that keeps the result.

    `own_files` says of a relative path whether the stage writes it, for a stage that replaces the whole directory. If
    there are other files, ConfigError. None stands for a stage that writes into the directory and leaves others alone.
    """
    refuse_file(output)
    finished = _find_same_result(output, manifest_name, wanted, restart, describe_difference, remedy)
    if finished is None:
        if own_files and output.exists():
            refuse_other_files(output, own_files)
        check_output(output, replaces_directory=own_files is not None)
    return finished


def _find_same_result(
    output: Path,
    manifest_name: str,
    wanted: str,
    restart: bool,
    describe_difference: Callable[[dict[str, Any]], str],
    remedy: str,
) -> dict[str, Any] | None:
    path = output / manifest_name
    manifest = read_json(path) if path.is_file() else {}
    if "fingerprint" not in manifest:
        if output.exists() and not (output.is_dir() and all(map(_is_left_behind, output.iterdir()))):
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
        f"Name another output, or pass --restart to replace it.{f' {remedy}' if remedy else ''}"
    )


def _is_left_behind(path: Path) -> bool:
    """Whether a process left it that ended before its first file: a temporary one of `write_json`, or a lock."""
    return path.name == LOCK_DIRECTORY or bool(UNFINISHED_JSON.fullmatch(path.name))


def remove_all(directory: Path, *names: str) -> None:
    """Remove the named files and directories of a directory, and nothing else in it."""
    for path in (directory / name for name in names):
        if path.is_symlink() and path.is_dir():  # a person moved it to another disk: it stays there, empty
            remove_all(path, *(each.name for each in path.iterdir()))
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
