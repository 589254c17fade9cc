"""Writes docs/benchmarks.md and its plots from benchmarks/results/*.jsonl; measures nothing.

    python benchmarks/report.py

A line of a results file is one JSON object. `kind` is `result`, `note` or `machine`. A result has `date`, `commit`,
`machine`, `command`, `what`, and `figure` or `figures`. Two keys bring a result onto the page: `headline` (with
`headline_figure` and `headline_command`) makes it a row of the first table, `contender` with `ratios` a bar of a plot.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import click
import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = Path("docs/benchmarks.md")
IMAGES = Path("docs/images")
LINE_CHARACTERS = 98

Row = dict[str, Any]

COMPARISONS = (
    (
        "scoring",
        "eb51d0b",
        "slope",
        "Scoring Parquet",
        "Rows a second of `jobs.score_reviews` over rows a second of each peer, same checkpoint, same rows, in turns. "
        "Start-up is left out: this is the slope between a short and a long corpus.",
    ),
    (
        "prediction",
        "caf0c94",
        "mixed lengths",
        "Predicting in memory",
        "Texts a second of `Predictor` over texts a second of each peer, 1,000 texts of mixed lengths, 87 tokens on "
        "average.",
    ),
    (
        "training",
        "dbb064c",
        "mixed lengths",
        "Training",
        "Tokens a second of the training loop over tokens a second of transformers' Trainer, one epoch of the same "
        "1,200 reviews.",
    ),
)
"""Question, commit, key of `ratios`, title and caption of each plot."""


def read_results(directory: Path = RESULTS) -> list[Row]:
    """Return the rows of every results file, in the order of file names and lines."""
    paths = sorted(directory.glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def write_page(rows: Sequence[Row], root: Path) -> None:
    """Write the page and one SVG for each comparison below `root`."""
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    for question, commit, key, title, _ in COMPARISONS:
        draw_ratios(select_contenders(rows, question, commit), key, root / IMAGES / f"benchmark-{question}.svg", title)
    (root / PAGE).write_text("\n".join(page_lines(rows)) + "\n", encoding="utf-8")


def page_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of docs/benchmarks.md."""
    yield from INTRODUCTION
    yield "| what | figure | spread | date | commit | machine |"
    yield "|---|---|---|---|---|---|"
    headlines = [row for row in rows if "headline" in row]
    for row in headlines:
        cells = (row["headline"], row["headline_figure"], row.get("spread", "one run"))
        yield f"| {' | '.join(cells)} | {row['date']} | {row['commit']} | {row['machine']} |"
    yield ""
    yield "The commands, in the same order:"
    yield ""
    yield from (f"    {command}" for command in dict.fromkeys(row["headline_command"] for row in headlines))
    for question, commit, key, title, caption in COMPARISONS:
        yield from comparison_lines(select_contenders(rows, question, commit), key, title, caption)
    yield from few_rows_lines([row["few_rows"] for row in rows if "few_rows" in row])
    yield ""
    yield "## Machines"
    yield ""
    for row in rows:
        if row["kind"] == "machine":
            yield from wrap(f"- **{row['machine']}**: {row['text']}", LINE_CHARACTERS, subsequent_indent="  ")


def comparison_lines(contenders: Sequence[Row], key: str, title: str, caption: str) -> Iterator[str]:
    """Yield one section: its plot and its table."""
    first = contenders[0]
    yield from ("", f"## {title}", "", *wrap(caption, LINE_CHARACTERS), "")
    yield f"![{title}: how many times faster than each peer](images/benchmark-{first['question']}.svg)"
    yield from ("", "| peer | times faster | spread |", "|---|---|---|")
    for row in contenders[1:]:
        ratio = row["ratios"][key]
        yield f"| {row['contender']} | {ratio['median']:.2g} | {ratio['low']:g} to {ratio['high']:g} |"
    yield ""
    command = first.get("command") or "python benchmarks/score_vs_peers.py measure"
    where = f"{first['date']}, commit {first['commit']}, machine {first['machine']}"
    yield from wrap(f"`{command.split(' … ')[0]}`, {where}.", LINE_CHARACTERS)


def few_rows_lines(results: Sequence[Row]) -> Iterator[str]:
    """Yield the section about few rows: a line for each set and number of rows, a column for each way to learn."""
    yield from ("", "## Few rows", "", *FEW_ROWS.splitlines(), "")
    yield f"| set | rows | {' | '.join(WAYS.values())} | seconds |"
    yield f"|---|---|{'---|' * len(WAYS)}---|"
    cells = {(result["set"], result["rows"], result["contender"]): result for result in results}
    for name, rows in sorted({(result["set"], result["rows"]) for result in results}):
        some = [cells.get((name, rows, way)) for way in WAYS]
        figures = [
            f"{each['accuracy']:.3f} ± {each['deviation']:.3f}, {each['macro_f1']:.3f}" if each else "" for each in some
        ]
        seconds = " and ".join(f"{each['seconds']:.0f}" for each in some[:2] if each)
        yield f"| {name} | {rows} | {' | '.join(figures)} | {seconds} |"


def select_contenders(rows: Sequence[Row], question: str, commit: str) -> list[Row]:
    """Return the rows of one comparison, this project's own first."""
    compared = (row for row in rows if row.get("contender") and row["question"] == question)
    return [row for row in compared if row["commit"] == commit]


def draw_ratios(contenders: Sequence[Row], key: str, path: Path, title: str) -> None:
    """Draw one lying bar for each peer: the ratio, with its spread as a line; the same rows give the same bytes."""
    peers = contenders[1:]
    ratios = [row["ratios"][key] for row in peers]
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "sentiment-ray",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.2, 0.9 + 0.34 * len(peers)), layout="constrained")
        axes = figure.add_subplot()
        values = [ratio["median"] for ratio in ratios]
        below = [max(0.0, ratio["median"] - ratio["low"]) for ratio in ratios]
        above = [max(0.0, ratio["high"] - ratio["median"]) for ratio in ratios]
        bars = axes.barh([row["contender"] for row in peers], values, color="#2f5d8c", height=0.62, xerr=[below, above],
                         error_kw={"ecolor": "#22272e", "elinewidth": 1})  # fmt: skip
        axes.bar_label(bars, [f"{value:.2g} ×" for value in values], padding=6)
        axes.axvline(1, color="#b4551e", linewidth=1)
        axes.set_xlim(0, 1.15 * max(values))
        axes.set_xlabel("times faster than the peer; the line marks equal speed")
        axes.set_title(title, loc="left")
        axes.invert_yaxis()
        figure.savefig(path, format="svg", metadata={"Date": None})


WAYS = {"ours": "sentiment-ray", "setfit": "SetFit 1.2", "head": "head on the frozen encoder"}
FEW_ROWS = """Accuracy on up to 300 other rows, mean ± standard deviation over 8 seeds, and macro-F1 after the
comma. MiniLM, one thread, all with their defaults. SetFit takes as many steps as fit into the time
of sentiment-ray; the seconds of both are those of the processor. *Head on the frozen encoder* is a
logistic regression on mean embeddings. The rows are everyday sentences, sentences of film reviews,
and tweets.

With 20 rows of sentences the two are level. With 20 tweets SetFit has the higher accuracy and the
lower macro-F1. In the other lines sentiment-ray is ahead in both. With 66 rows of everyday
sentences the three messages of the README were right in 8 of 8 seeds, through the four commands
there."""
INTRODUCTION = """# Benchmarks

Every figure here comes from a file in `benchmarks/results/`. This page is
written by `python benchmarks/report.py`.

Peers run in turns with this project, on the same cores, rows and checkpoint. Their answers are
compared with torch's before any figure counts. *Documented* is what the peer's own pages show;
*tuned* is the fastest form that we found. A ratio compares runs of one round.

The results files hold every measurement, the failed attempts too, with its date, commit, machine
and command. Figures of different machines are never compared.

## At a glance

""".splitlines()


@click.command()
def main() -> None:
    """Write docs/benchmarks.md and its plots from benchmarks/results."""
    write_page(read_results(), ROOT)


if __name__ == "__main__":
    main()
