"""Where a new result is written while the output holds an older one, and how it takes its place; knows no training.

The older result stays as it is, and can be used, until the new one is whole:

1. The new one is written to the directory `next-FINGERPRINT` in the output. Its manifest is the last file.
2. The older result is removed, its manifest first.
3. The new directory gets the name `placing`, and its files are moved to the output, the manifest at the end.

After a crash in step 2 or 3, the next run does the rest of it first.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sentiment_ray import log
from sentiment_ray.manifest import LOCK_DIRECTORY, remove_all
from sentiment_ray.output_lock import hold_local_lock

NEXT, PLACING = "next-", "placing"
FINGERPRINT_DIGITS = 12


def name_next(output: Path, fingerprint: str) -> Path:
    """Return the directory for a new result in `output`. The same command finds it again, to resume."""
    return output / f"{NEXT}{fingerprint[:FINGERPRINT_DIGITS]}"


def make_next(output: Path, fingerprint: str) -> Path:
    """Make the directory for a new result in `output`, and say so on stderr."""
    directory = name_next(output, fingerprint)
    directory.mkdir(exist_ok=True)
    log.notify(f"the earlier result in {output} is kept until the new one, in {directory.name}, is whole")
    return directory


def finish_replacement(output: Path, manifest_name: str, names: Sequence[str]) -> None:
    """Do the rest of a replacement that a crash cut short, if there is one; ConfigError while another run does it."""
    if (output / PLACING).exists() or any(output.glob(f"{NEXT}*/{manifest_name}")):
        with hold_local_lock(output / LOCK_DIRECTORY, output):
            replace_result(output, manifest_name, names)


@contextmanager
def keep_only_progress(directory: Path, output: Path, *, has_progress: Callable[[], bool]) -> Iterator[None]:
    """Remove the directory of a new result in `output` when the block fails before there is any progress."""
    try:
        yield
    except BaseException:
        if directory != output and not has_progress():
            remove_all(output, directory.name)
        raise


def replace_result(output: Path, manifest_name: str, names: Sequence[str]) -> None:
    """Give a new result that is whole the place of the older one; without a new one, do nothing. Hold the lock.

    `names` are all files and directories of a result except its manifest. Others in the output stay, but unfinished
    new results are removed.
    """
    placing = output / PLACING
    new = next((path.parent for path in sorted(output.glob(f"{NEXT}*/{manifest_name}"))), None)
    if new is not None and not placing.exists():
        remove_all(output, manifest_name, *names)
        new.rename(placing)
    if placing.exists():
        for name in (*names, manifest_name):
            _move(placing / name, output / name)
        remove_unfinished(output)


def remove_unfinished(output: Path) -> None:
    """Remove the directories of new results."""
    remove_all(output, PLACING, *(path.name for path in output.glob(f"{NEXT}*")))


def _move(source: Path, target: Path) -> None:
    """Move a file or a directory, if it is there. Of a target that leads to another disk, only the content moves."""
    if not source.exists():
        return
    if not target.is_symlink() or not target.is_dir():
        source.rename(target)
        return
    for each in source.iterdir():
        shutil.move(each, target / each.name)
    source.rmdir()
