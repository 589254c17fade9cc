"""Reads what a column says of when a row was written; knows dates and numbers, no files."""

from datetime import UTC, date, datetime
from typing import Any

FIRST_EPOCH_S, LAST_EPOCH_S = 10**8, 10**11
"""March 1973 and the year 5138: a smaller number is rather a year or a day, a larger one milliseconds."""
NO_TIME = "time is neither a date (ISO 8601) nor seconds since 1970"


def microseconds_of(value: Any) -> int | None:
    """Return microseconds since 1970 (UTC) of a date, an ISO 8601 string or seconds since 1970; None for what is none.

    A time without a zone is taken as UTC, a date as its midnight.
    """
    if isinstance(value, str):
        value = _parsed(value.strip())
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    if isinstance(value, date):
        return microseconds_of(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, int | float) and not isinstance(value, bool) and FIRST_EPOCH_S <= value < LAST_EPOCH_S:
        return round(value * 1e6)
    return None


def _parsed(text: str) -> datetime | float | None:
    """Return what a string says; eight digits are a day (20240131), not seconds."""
    for read in (datetime.fromisoformat, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None
