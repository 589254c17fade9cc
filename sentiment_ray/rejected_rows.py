"""The one warning about rows that a stage set aside; knows no stage."""

import logging
from collections.abc import Mapping

from sentiment_ray import log

MAX_REASONS_SHOWN = 3


def warn_about_rejected_rows(
    num_rejected: int, num_rows: int, reasons: Mapping[str, int], *, first: str = "", where: str
) -> None:
    """Write one line to stderr that counts the rejected rows by reason, if there are any.

    `first` says where the first one is, `where` is a sentence on where all are.
    """
    if not num_rejected:
        return
    frequent = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{reason}: {count:,}" for reason, count in frequent[:MAX_REASONS_SHOWN])
    more = f", and {len(frequent) - MAX_REASONS_SHOWN} other reasons" if len(frequent) > MAX_REASONS_SHOWN else ""
    example = f" The first is in {first}." if first else ""
    log.notify(
        f"{num_rejected:,} of {num_rows:,} rows were set aside ({shown}{more}).{example} {where}",
        level=logging.WARNING,
    )
