"""Converts the values of a time column to microseconds; knows dates and numbers, no files."""

from datetime import UTC, date, datetime
from typing import Any

MIN_EPOCH_S, MAX_EPOCH_S = 10**8, 10**11
"""March 1973 and the year 5138. A smaller number is probably a year or a day, a larger one milliseconds."""
NO_TIME = "time is neither a date (ISO 8601) nor seconds since 1970"


def parse_microseconds(value: Any) -> int | None:
    """Return microseconds since 1970 (UTC) for a date, an ISO 8601 string or seconds since 1970; None for other values.

    A time without a zone is read as UTC, a date as its midnight.
    """
    if isinstance(value, str):
        value = _parse_text(value.strip())
    if isinstance(value, datetime):
        time = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    if isinstance(value, date):
        return parse_microseconds(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, int | float) and not isinstance(value, bool) and MIN_EPOCH_S <= value < MAX_EPOCH_S:
        return round(value * 1e6)
    return None


def _parse_text(text: str) -> datetime | float | None:
    """Return the date or the number that a text holds; eight digits are a day (20240131), not seconds."""
    for parse in (datetime.fromisoformat, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return None
