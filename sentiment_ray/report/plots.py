"""Draws plots as SVG inside a page: text stays text, and nothing is loaded. Knows names and numbers, no reports."""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH_IN = 4.2
MAX_NAME_CHARACTERS = 18
MAIN_COLOR, REFERENCE_COLOR, TEXT_COLOR, GRID_COLOR = "#2f5d8c", "#a9b2bd", "#22272e", "#e6e9ed"
LINE_STYLES = (
    ("#2f5d8c", "-"),
    ("#b4551e", "--"),
    ("#3b7d4f", "-."),
    ("#7a4a91", ":"),
    ("#22272e", (0, (5, 1, 1, 1, 1, 1))),
)
"""Colour and dashes, so that lines differ in black and white as well. The sixth line looks like the first."""
PLOT_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": TEXT_COLOR,
    "axes.edgecolor": "#c9ced6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": TEXT_COLOR,
    "ytick.color": TEXT_COLOR,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def draw_bars(
    names: Sequence[str], values: Sequence[float], texts: Sequence[str], reference: Sequence[float] = ()
) -> Markup:
    """Return horizontal bars, the first on top, each with its text at the end.

    `reference` holds the values of another data set, if any; their bars are drawn below.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        figure, axes = _create_figure(height_in=0.3 + (0.44 if reference else 0.32) * len(names))
        height = 0.38 if reference else 0.62
        positions = [float(index) for index in range(len(names))]
        bars = axes.barh([y - height / 2 * bool(reference) for y in positions], values, height, color=MAIN_COLOR)
        axes.bar_label(bars, texts, padding=4)
        if reference:
            axes.barh([y + height / 2 for y in positions], reference, height, color=REFERENCE_COLOR)
        axes.set_yticks(positions, [_shorten(name) for name in names])
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.set_xlim(0, 1.18 * max([*values, *reference, 1e-9]))
        axes.spines["bottom"].set_visible(False)
        return _write_svg(figure)


def draw_histogram(edges: Sequence[str], shares: Sequence[float], reference: Sequence[float] = ()) -> Markup:
    """Return a column for each share, between its two `edges`. An edge without a name is an empty string.

    `reference` holds the shares of another data set, if any; they are drawn as an outline.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        figure, axes = _create_figure(height_in=2.1)
        positions = [float(index) for index in range(len(edges))]
        axes.bar([x + 0.5 for x in positions[:-1]], shares, width=0.92, color=MAIN_COLOR)
        if reference:
            axes.stairs(reference, positions, color=REFERENCE_COLOR, linewidth=2.2)
        axes.set_xticks(positions, edges)
        axes.set_xlim(-0.1, positions[-1] + 0.1)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}".replace("%", " %"))
        axes.locator_params(axis="y", nbins=4)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", color=GRID_COLOR)
        axes.set_axisbelow(True)
        return _write_svg(figure)


@dataclass(frozen=True)
class Line:
    """A line through points. With `dots`, every point is marked."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


def draw_lines(
    lines: Sequence[Line], *, x_title: str, y_title: str, diagonal: bool = False, top: float = 1.0
) -> Markup:
    """Return lines over shares: x from 0 to 1, y from 0 to `top`. Several lines have a legend below the plot.

    `diagonal` adds a grey line from corner to corner.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        figure, axes = _create_figure(height_in=3.1)
        if diagonal:
            axes.plot([0, 1], [0, top], color=REFERENCE_COLOR, linewidth=1.2)
        for index, line in enumerate(lines):
            color, dashes = LINE_STYLES[index % len(LINE_STYLES)]
            marker = "o" if line.dots else ""
            axes.plot(
                line.x, line.y, color=color, linestyle=dashes, linewidth=1.8, marker=marker, markersize=4,
                label=_shorten(line.name),
            )  # fmt: skip
        axes.set(xlabel=x_title, ylabel=y_title, xlim=(-0.01, 1.01), ylim=(-0.01 * top, 1.02 * top))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda share, _: f"{share:g}")
        axes.locator_params(nbins=5)
        axes.grid(color=GRID_COLOR)
        axes.set_axisbelow(True)
        if len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=min(len(lines), 3), frameon=False)
        return _write_svg(figure)


def _create_figure(*, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.add_subplot()


def _write_svg(figure: Figure) -> Markup:
    """Return a figure as SVG, without the prolog, namespaces, metadata and ids that only a file of its own needs."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Matplotlib only measures the letters and the browser draws them, so a font that lacks some is no problem.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text[text.index("<svg") :])
    return Markup(re.sub(r'<g id="[^"]*"', "<g", text))


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[: MAX_NAME_CHARACTERS - 1]}…"
