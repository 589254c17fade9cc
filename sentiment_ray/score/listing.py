"""Lists the Parquet files of a corpus on a disk or an object store; opens none."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass

from sentiment_ray.errors import ConfigError, DataError
from sentiment_ray.storage import file_info, full_path, open_location


@dataclass(frozen=True)
class InputFile:
    """A file of the corpus; `name` is its path below the input, and `version` changes with its content."""

    path: str
    name: str
    bytes: int
    version: str


def list_files(location: str, output: str) -> list[InputFile]:
    """Return the Parquet files of a file, a directory or a glob, sorted by name.

    A directory means every *.parquet below it, without names that begin with _ or a dot.
    ConfigError when the output lies inside the input or the input inside the output, DataError when there is no file.
    """
    fs, root = open_location(location)
    root = root.rstrip("/")
    missing = DataError(f"input = {location!r}: there is no Parquet file. Name a file, a directory or a glob.")
    try:
        if glob.has_magic(root) and not fs.exists(root):
            base = _directory_above_wildcard(root)
            infos = {path: info for path, info in fs.glob(root, detail=True).items() if info["type"] != "directory"}
        elif fs.isfile(root):
            base = root.rpartition("/")[0]
            infos = {root: fs.info(root)}
        else:
            base = root
            _refuse_inside(location, root, output)
            infos = {path: info for path, info in fs.find(root, detail=True).items() if _is_data(path[len(root) :])}
    except FileNotFoundError:
        raise missing from None
    if not infos:
        raise missing
    _refuse_scores(location, [full_path(fs, path) for path in infos], output)
    files = []
    for path in sorted(infos):
        info = file_info(infos[path])
        files.append(InputFile(full_path(fs, path), path[len(base) + 1 :], info.bytes, info.version))
    return files


def _is_data(inner: str) -> bool:
    parts = inner.strip("/").split("/")
    return parts[-1].endswith(".parquet") and not any(part[:1] in ("_", ".") for part in parts)


def _refuse_inside(location: str, root: str, output: str) -> None:
    fs, target = open_location(output)
    if full_path(fs, target + "/").startswith(full_path(open_location(location)[0], root) + "/"):
        raise ConfigError(f"output = {output!r} lies inside the input {location!r}. Name a directory outside it.")


def _refuse_scores(location: str, paths: Sequence[str], output: str) -> None:
    fs, target = open_location(output)
    below = full_path(fs, target.rstrip("/")) + "/"
    inside = [path for path in paths if path.startswith(below)]
    if inside:
        raise ConfigError(
            f"input = {location!r} names {inside[0]}, which lies inside the output {output!r}. --restart would remove "
            "it. Name another output."
        )


def _directory_above_wildcard(pattern: str) -> str:
    """Return the part of a path above its first wildcard."""
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first])
