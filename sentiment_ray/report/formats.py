"""Writes numbers for people. Each `format_x` is a filter named `x` in the templates of pages."""


def format_number(value: float) -> str:
    """Return a count with thousands separators, or a small rate with one decimal."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def format_percent(share: float) -> str:
    """Return a share in percent. Only an exact 0 or 1 becomes 0 % or 100 %."""
    if share in (0, 1) or 0.1 <= share < 0.995:
        return f"{share * 100:.0f} %"
    if share < 0.001:
        return "< 0.1 %"
    return f"{min(share * 100, 99.9):.1f} %"


def format_duration(seconds: float) -> str:
    """Return a time in hours and minutes, in minutes and seconds, or in seconds."""
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {whole_seconds} s" if minutes else f"{seconds:.1f} s"


def format_size(num_bytes: float) -> str:
    """Return bytes in the unit that needs at most three digits before the decimal point."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"


def format_measure(value: float | None) -> str:
    """Return a measure with three decimals, or a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def format_signed(value: float) -> str:
    """Return a difference with its sign and three decimals; a difference that rounds to zero has no sign."""
    text = f"{abs(value):.3f}"
    return text if text == "0.000" else ("−" if value < 0 else "+") + text


def format_interval(ends: tuple[float | None, float | None] | None) -> str:
    """Return the ends of an interval of measures, or nothing when there is no interval."""
    return f"{format_measure(ends[0])}–{format_measure(ends[1])}" if ends and ends[0] is not None else ""


def format_signed_interval(ends: tuple[float, float]) -> str:
    """Return the ends of an interval of differences."""
    return f"{format_signed(ends[0])} to {format_signed(ends[1])}"
