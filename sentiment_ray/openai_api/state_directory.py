"""Makes the state directory of a service, and removes what an earlier service left unfinished there."""

import contextlib
import time
from pathlib import Path

from sentiment_ray.errors import ConfigError

DIRECTORIES = ("files", "uploads", "jobs", "base_models", "batches")
MAX_UPLOAD_AGE_S = 24 * 3600
"""An unfinished upload that nobody has written to for so long is removed when a service starts."""


def make_state_directory(path: str) -> Path:
    """Return the state directory, with its parts, for its owner alone; ConfigError when it cannot be made."""
    state = Path(path).resolve()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in DIRECTORIES:
            (state / name).mkdir(exist_ok=True)
    except OSError as error:
        reason = f"cannot be made ({error.strerror}). Name a directory that you may write to"
        raise ConfigError(f"state = {path!r} {reason}.") from None
    return state


def remove_unfinished_uploads(state: Path) -> None:
    """Remove uploads that a service left behind; newer ones may be those of another service that runs."""
    for path in (state / "uploads").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > MAX_UPLOAD_AGE_S:
                path.unlink()
