"""Plots as SVG that stands inside a page: text stays text, nothing is loaded; knows names and numbers, no reports."""

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
HERE, REFERENCE, INK, GRID = "#2f5d8c", "#a9b2bd", "#22272e", "#e6e9ed"
STROKES = (
    ("#2f5d8c", "-"),
    ("#b4551e", "--"),
    ("#3b7d4f", "-."),
    ("#7a4a91", ":"),
    ("#22272e", (0, (5, 1, 1, 1, 1, 1))),
)
"""Colour and dashes of lines, so that they differ in black and white as well; the sixth is like the first."""
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#c9ced6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def bars(names: Sequence[str], values: Sequence[float], texts: Sequence[str], before: Sequence[float] = ()) -> Markup:
    """Return lying bars, the first on top, `texts` at their ends and the reference's bars, if any, below each."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _blank(height_in=0.3 + (0.44 if before else 0.32) * len(names))
        height = 0.38 if before else 0.62
        places = [float(place) for place in range(len(names))]
        drawn = axes.barh([place - height / 2 * bool(before) for place in places], values, height, color=HERE)
        axes.bar_label(drawn, texts, padding=4)
        if before:
            axes.barh([place + height / 2 for place in places], before, height, color=REFERENCE)
        axes.set_yticks(places, [_shortened(name) for name in names])
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.set_xlim(0, 1.18 * max([*values, *before, 1e-9]))
        axes.spines["bottom"].set_visible(False)
        return _svg(figure)


def columns(edges: Sequence[str], values: Sequence[float], before: Sequence[float] = ()) -> Markup:
    """Return standing columns of shares, one between each pair of `edges`, which may be empty where no name is wanted.

    The reference's shares, if any, are an outline above them.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _blank(height_in=2.1)
        places = [float(place) for place in range(len(edges))]
        axes.bar([place + 0.5 for place in places[:-1]], values, width=0.92, color=HERE)
        if before:
            axes.stairs(before, places, color=REFERENCE, linewidth=2.2)
        axes.set_xticks(places, edges)
        axes.set_xlim(-0.1, places[-1] + 0.1)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}".replace("%", " %"))
        axes.locator_params(axis="y", nbins=4)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        return _svg(figure)


@dataclass(frozen=True)
class Line:
    """A line through points; `dots` marks each of them."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


def lines(drawn: Sequence[Line], *, x_title: str, y_title: str, diagonal: bool = False, top: float = 1.0) -> Markup:
    """Return lines over shares: x from 0 to 1, y from 0 to `top`, with names below where there are several.

    `diagonal` adds a grey line from corner to corner.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _blank(height_in=3.1)
        if diagonal:
            axes.plot([0, 1], [0, top], color=REFERENCE, linewidth=1.2)
        for place, line in enumerate(drawn):
            color, dashes = STROKES[place % len(STROKES)]
            marker = "o" if line.dots else ""
            axes.plot(
                line.x, line.y, color=color, linestyle=dashes, linewidth=1.8, marker=marker, markersize=4,
                label=_shortened(line.name),
            )  # fmt: skip
        axes.set(xlabel=x_title, ylabel=y_title, xlim=(-0.01, 1.01), ylim=(-0.01 * top, 1.02 * top))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda share, _: f"{share:g}")
        axes.locator_params(nbins=5)
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        if len(drawn) > 1:
            figure.legend(loc="outside lower center", ncols=min(len(drawn), 3), frameon=False)
        return _svg(figure)


def _blank(*, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> Markup:
    """Return a figure without what only a file of its own needs: prolog, namespaces, metadata, repeated ids."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Only the reader's browser draws the letters, so it does not matter which the font used for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text[text.index("<svg") :])
    return Markup(re.sub(r'<g id="[^"]*"', "<g", text))


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[: MAX_NAME_CHARACTERS - 1]}…"
