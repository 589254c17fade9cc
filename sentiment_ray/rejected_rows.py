"""The one warning about rows that a stage set aside; knows no stage."""

import logging
from collections.abc import Mapping, Sequence

from sentiment_ray import log

MAX_REASONS_SHOWN = 3


def warn_about_rejected_rows(
    num_rejected: int,
    num_rows: int,
    reasons: Mapping[str, int],
    *,
    first: str = "",
    bad_files: Sequence[str] = (),
    where: str,
) -> None:
    """Write one line to stderr that counts the rejected rows by reason, if there are any, or any bad file.

    `first` says where the first row is, `bad_files` are whole files with their reasons, `where` is a sentence on where
    all are.
    """
    if not num_rejected and not bad_files:
        return
    frequent = sorted((item for item in reasons.items() if item[1]), key=lambda item: (-item[1], item[0]))
    named = [f"{reason}: {count:,}" for reason, count in frequent[:MAX_REASONS_SHOWN]]
    if len(frequent) > MAX_REASONS_SHOWN:
        named.append(f"and {len(frequent) - MAX_REASONS_SHOWN} other reasons")
    shown = f" ({', '.join(named)})" if named else ""
    sentences = [f"Set aside {num_rejected:,} of {num_rows:,} rows{shown}."]
    if first:
        sentences.append(f"The first is in {first}.")
    if bad_files:
        sentences.append(f"Files that cannot be read: {len(bad_files)}, such as {bad_files[0]}.")
    log.notify(" ".join([*sentences, where]), level=logging.WARNING)
