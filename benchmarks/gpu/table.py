"""Turns result lines into Markdown: a section and a table for each part; measures nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.results import Line, read_lines

PERCENTAGES = {"of_peak", "of_loop", "gpu_busy", "same_bits", "validation_accuracy", "test_accuracy"}


def build_tables(root: Path) -> str:
    """Return a section for each part that has results below the work directory."""
    sections = [(part, read_lines(root, part.name)) for part in PARTS]
    return "\n\n".join(f"## {part.title}\n\n{build_table(part, lines)}" for part, lines in sections if lines)


def build_table(part: Part, lines: Sequence[Line]) -> str:
    """Return the table of a part: a row for each line, and the columns in which a line has a figure."""
    columns = {key: heading for key, heading in part.columns.items() if any(key in line for line in lines)}
    headings = ["what", *(columns.values() or ["result"])]
    rows = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for line in lines:
        if "error" in line:
            cells = [_escape(f"failed: {line['error']}"), *[""] * (len(headings) - 2)]
        else:
            cells = [_format(key, line.get(key)) for key in columns]
        rows.append(f"| {_escape(line['what'])} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _format(key: str, figure: Any) -> str:
    """Return a figure as a cell: a spread as its median and range, a share in per cent."""
    if figure is None:
        return ""
    if isinstance(figure, bool):
        return "yes" if figure else "no"
    if isinstance(figure, dict):
        if not figure["rounds"]:
            return "none"
        low, high = (_format(key, figure[name]) for name in ("p10", "p90"))
        return f"{_format(key, figure['median'])} ({low}–{high})"
    if isinstance(figure, int | float):
        if key in PERCENTAGES:
            return f"{100 * figure:.3g} %"
        return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.4g}"
    return _escape(str(figure))


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
