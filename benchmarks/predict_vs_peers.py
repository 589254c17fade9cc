"""Compares prediction from texts in memory to labels with this project and with other libraries, without Ray.

Run `prepare` first, then `measure`. README.md in this directory has the commands.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from corpora import SOURCES_BY_LENGTH, describe, predict_corpus
from harness import Bench, Contender, Result, RunError, bench_options, machine, read_column, spread
from journal import Journal, code_digest
from numpy.typing import NDArray
from predict_contenders import EXPORTS, OURS, PEAK, PEERS, other_variants
from preparing import make_export, prepare_command
from side_by_side import MIN_AGREEMENT, REFERENCE, build_table, check_all, choose, read_versions, summarise_rounds

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.errors import ConfigError

COLUMNS = {
    "rows_per_s": "rows/s",
    "ours_faster": "ours faster",
    "gflop_per_s": "useful GFLOP/s",
    "share_of_bf16_peak": "of bf16 peak",
    "share_of_fp32_peak": "of fp32 peak",
    "padding": "padding",
    "seconds_first_answer": "first answer, s",
}
PEAKS = ("gflop_per_s_bf16", "gflop_per_s_fp32")
Turn = list[Result]
"""A run of a contender, and the measured rate of matrix products in the same round."""


@dataclass(frozen=True)
class Corpus:
    """Texts to predict, and the GFLOP that they cost in a model of the checkpoint's shape without padding."""

    name: str
    path: Path
    lengths: NDArray[np.int64]
    gflop: float

    def summary(self) -> Result:
        """Return the description of the corpus in the results."""
        tokens = {"tokens_mean": float(self.lengths.mean()), "tokens_median": float(np.median(self.lengths))}
        return {"corpus": self.name, **describe(self.path), **tokens}


@click.group()
def main() -> None:
    """Compare plain prediction, from texts in memory to labels and probabilities, with other libraries."""


main.add_command(prepare_command((REFERENCE, OURS, *PEERS)))


@main.command()
@bench_options
@click.option("--rows", default=1000, show_default=True, help="Rows of each corpus.")
@click.option("--warm-up-rows", default=256, show_default=True, help="Other rows to predict before the timed ones.")
@click.option("--corpus", "names", multiple=True, type=click.Choice(list(SOURCES_BY_LENGTH)), help="[all]")
@click.option("--min-agreement", default=MIN_AGREEMENT, show_default=True, help="Least share of equal labels.")
@click.option("--only", multiple=True, help="Contenders to measure; may be given several times. [all]")
@click.option("--report", type=click.Path(path_type=Path), help="File for the Markdown tables. [stderr]")
def measure(
    bench: Bench, samples: Path, rounds: int, rows: int, warm_up_rows: int, names: tuple[str, ...],
    min_agreement: float, only: tuple[str, ...], report: Path | None,
) -> None:  # fmt: skip
    """Check the labels of every contender, then measure all of them in each round.

    Prints a JSON line and a table for each corpus. A stopped measurement resumes: WORKDIR/journals/ holds the finished
    runs.
    """
    chosen = choose((OURS, *other_variants(bench.bundle), *PEERS), only, always=OURS)
    _make_exports(bench)
    machine_info = machine()
    click.echo(f"{bench.threads} threads each, {rounds} rounds, {rows} rows; load {machine_info['load']:.2f}", err=True)
    corpora, checks = [], {}
    for name in names or SOURCES_BY_LENGTH:
        directory = bench.workdir / "corpora"
        path = predict_corpus(directory, samples, lengths=name, rows=rows, warm_up_rows=warm_up_rows)
        checks[name] = check_all(bench, chosen, [path], min_agreement=min_agreement)
        corpora.append(_measure_corpus(bench, name, path))
    contenders = [contender.name for contender in chosen]
    journal = Journal(bench, "predict", code_digest(), contenders, rows, warm_up_rows)
    turns: dict[tuple[str, str], list[Turn]] = {}
    for number in range(1, rounds + 1):
        peak = journal.run_once(bench, PEAK, corpora[0].path, number=number)
        for corpus in corpora:
            for contender in chosen:
                if "error" not in checks[corpus.name][contender.name]:
                    done = journal.run_once(bench, contender, corpus.path, number=number)
                    turns.setdefault((corpus.name, contender.name), []).append([done, peak])
    settings = {"machine": machine_info, "threads": bench.threads, "warm_up_rows": warm_up_rows, "peak": _peaks(turns)}
    settings["versions"] = read_versions(bench, chosen)
    text = ""
    for corpus in corpora:
        table = {c.name: _figures(bench, corpus, c, checks[corpus.name][c.name], turns) for c in chosen}
        text += f"{corpus.name}\n\n{build_table(chosen, table, COLUMNS)}\n"
        print_result(corpus.summary() | settings | {"contenders": table})
    report.write_text(text, encoding="utf-8") if report else click.echo(text, err=True)


def _make_exports(bench: Bench) -> None:
    """Write the checkpoint in every format; the check leaves out a contender whose export failed."""
    for export in EXPORTS:
        try:
            make_export(bench, export)
        except (ConfigError, OSError) as error:
            click.echo(f"{export.name}: {error}", err=True)


def _measure_corpus(bench: Bench, name: str, path: Path) -> Corpus:
    """Return a corpus with its cost: a token in a text of S tokens takes `2 L (4 d^2 + 2 d f) + 4 L S d` operations.

    L is the number of layers, d their width and f the feed-forward width. The first term is the products with weights,
    the second attention.
    """
    source = bench.checkpoint / "config.json"
    config = json.loads(source.read_text(encoding="utf-8"))
    try:
        layers, width, inner = (config[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    except KeyError as error:
        raise ConfigError(f"{source} has no {error}, so the cost of a token cannot be computed.") from None
    lengths = np.array(list(read_column(bench, REFERENCE, path, "tokens").values()))
    flop = 2 * layers * (4 * width**2 + 2 * width * inner) * lengths + 4 * layers * width * lengths**2
    return Corpus(name, path, lengths, gflop=float(flop.sum()) / 1e9)


def _figures(
    bench: Bench, corpus: Corpus, contender: Contender, check: Result, turns: dict[tuple[str, str], list[Turn]]
) -> Result:
    """Return the results of a contender on a corpus: its check and the spread of its figures."""
    if "error" in check:
        return check
    figures = summarise_rounds(
        turns.get((corpus.name, contender.name), []),
        turns.get((corpus.name, OURS.name), []),
        partial(_compute_figures, corpus),
        names=tuple(COLUMNS),
        ratios={"ours_faster": "rows_per_s"},
    )
    difference = _probability_difference(bench, contender, corpus)
    return check | {"max_probability_difference": difference} | figures


def _compute_figures(corpus: Corpus, turn: Turn) -> dict[str, float]:
    for result in turn:
        if "error" in result:
            raise RunError(result["error"])
    done, peak = turn
    gflop_per_s = corpus.gflop / done["seconds"]
    figures = {
        "rows_per_s": done["rows"] / done["seconds"],
        "gflop_per_s": gflop_per_s,
        "share_of_bf16_peak": gflop_per_s / peak["gflop_per_s_bf16"],
        "share_of_fp32_peak": gflop_per_s / peak["gflop_per_s_fp32"],
        "seconds_first_answer": done["seconds_first_answer"],
    }
    return figures if done["padding"] is None else figures | {"padding": done["padding"]}


def _probability_difference(bench: Bench, contender: Contender, corpus: Corpus) -> float:
    """Return the largest difference of a probability from the reference, over the texts with equal labels."""
    labels, scores = (
        [read_column(bench, each, corpus.path, column) for each in (REFERENCE, contender)]
        for column in ("label", "score")
    )
    same = [key for key, label in labels[0].items() if labels[1][key] == label]
    return max(abs(scores[0][key] - scores[1][key]) for key in same)


def _peaks(turns: dict[tuple[str, str], list[Turn]]) -> Result:
    """Return the spread of the rates of matrix products over the rounds."""
    peaks = [peak for _, peak in next(iter(turns.values()), []) if "error" not in peak]
    return {name: spread([peak[name] for peak in peaks]) for name in PEAKS}


if __name__ == "__main__":
    run(main)
