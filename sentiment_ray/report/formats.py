"""Numbers as people read them."""


def number(value: float) -> str:
    """Return a count with commas, or a small rate with one digit behind the point."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def percent(share: float) -> str:
    """Return a share with as many digits as it needs to be neither 0 nor 100 % when it is not."""
    if share in (0, 1) or 0.1 <= share < 0.995:
        return f"{share * 100:.0f} %"
    if share < 0.001:
        return "< 0.1 %"
    return f"{min(share * 100, 99.9):.1f} %"


def duration(seconds: float) -> str:
    """Return a time in hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def size(num_bytes: float) -> str:
    """Return bytes in the unit that leaves at most three digits before the point."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"


def measure(value: float | None) -> str:
    """Return a measure with three digits behind the point, or a dash where there is nothing to measure."""
    return "–" if value is None else f"{value:.3f}"


def signed(value: float) -> str:
    """Return a difference with its sign and three digits behind the point."""
    text = f"{abs(value):.3f}"
    return text if text == "0.000" else ("−" if value < 0 else "+") + text


def interval(ends: tuple[float | None, float | None] | None) -> str:
    """Return the ends of an interval of measures; nothing where there is none."""
    return f"{measure(ends[0])}–{measure(ends[1])}" if ends and ends[0] is not None else ""


def signed_interval(ends: tuple[float, float]) -> str:
    """Return the ends of an interval of differences."""
    return f"{signed(ends[0])} to {signed(ends[1])}"
