"""Shared by the comparisons: choosing and checking contenders, figures over rounds, the table."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import click
from harness import Bench, Contender, Result, RunError, read_column, spread
from journal import Journal

from sentiment_ray.errors import ConfigError

MIN_AGREEMENT = 0.99
REPORTED_PACKAGES = {
    "ctranslate2", "daft", "datasets", "infinity-emb", "nncf", "onnxruntime", "openvino", "optimum-intel",
    "optimum-onnx", "pyarrow", "pyspark", "ray", "sentence-transformers", "tokenizers", "torch", "transformers",
}  # fmt: skip
REFERENCE = Contender("reference", "reference.py", "datasets", "torch fp32, one text at a time")


def choose(contenders: Sequence[Contender], only: tuple[str, ...], *, always: Contender) -> list[Contender]:
    """Return the contenders named in `only` and the one they are compared with; all without names."""
    known = [contender.name for contender in contenders]
    for name in only:
        if name not in known:
            raise ConfigError(f"--only {name} is unknown. Known: {', '.join(known)}.")
    return [contender for contender in contenders if not only or contender.name in (*only, always.name)]


def check_all(
    bench: Bench, contenders: list[Contender], corpora: Sequence[Path], *, min_agreement: float = MIN_AGREEMENT
) -> dict[str, Result]:
    """Compare the labels of every contender with those of the reference on each corpus.

    Return for each contender the share of equal labels on the last corpus, or `error`, the reason why it is left out.
    These runs also bring the files into the page cache.
    """
    journal = Journal(bench, "checks")
    for corpus in corpora:
        result = journal.run_once(bench, REFERENCE, corpus, number=0)
        if "error" in result:
            raise ConfigError(f"the reference failed on {corpus.name}: {result['error']}")
    checks: dict[str, Result] = {}
    for contender in contenders:
        for corpus in corpora:
            result = journal.run_once(bench, contender, corpus, number=0)
            checks[contender.name] = _check(bench, contender, corpus, result, min_agreement)
            if "error" in checks[contender.name]:
                click.echo(f"{contender.name} is left out: {checks[contender.name]['error']}", err=True)
                break
    return checks


def _check(bench: Bench, contender: Contender, corpus: Path, result: Result, min_agreement: float) -> Result:
    """Return the share of equal labels, or the error for which a contender is left out."""
    if "error" in result:
        return {"error": result["error"]}
    expected = read_column(bench, REFERENCE, corpus, REFERENCE.label_column)
    labels = read_column(bench, contender, corpus, contender.label_column)
    if expected.keys() != labels.keys() or result["rows"] != len(expected):
        return {"error": f"returned {result['rows']} rows for {len(expected)}, or other ids"}
    agreement = sum(labels[key] == label for key, label in expected.items()) / len(expected)
    if agreement < min_agreement:
        return {"error": f"agrees with the reference on {agreement:.1%} of the labels"}
    return {"label_agreement": round(agreement, 4)}


def summarise_rounds(
    rounds: list[list[Result]],
    ours: list[list[Result]],
    compute_figures: Callable[[list[Result]], dict[str, float]],
    *,
    names: Sequence[str],
    ratios: Mapping[str, str],
) -> Result:
    """Return the spread of a contender's figures over the rounds, and of the ratios between this project and it.

    `names` are the figures and ratios to return. `ratios` maps a ratio to the figure that it divides: this project's
    by the contender's, both of the same round. A round with a failed run is left out and listed.
    """
    values: dict[str, list[float]] = {name: [] for name in names}
    failed = []
    for other, own in zip_longest(rounds, ours):
        try:
            figures = compute_figures(other)
            if own is not None:
                reference = compute_figures(own)
                figures |= {ratio: reference[name] / figures[name] for ratio, name in ratios.items()}
        except RunError as error:
            failed.append(str(error))
            continue
        for key, value in figures.items():
            values[key].append(value)
    return {key: spread(figures) for key, figures in values.items()} | {"failed_rounds": failed}


def read_versions(bench: Bench, contenders: list[Contender]) -> dict[str, list[str]]:
    """Return the versions of the reported packages in each environment that is used."""
    versions = {}
    for name in sorted({contender.environment for contender in contenders}):
        path = bench.workdir / "environments" / name / "versions.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        versions[name] = [line for line in lines if line.partition("==")[0] in REPORTED_PACKAGES]
    return versions


def build_table(contenders: list[Contender], results: Mapping[str, Result], columns: Mapping[str, str]) -> str:
    """Return a Markdown table with a line for each contender; `columns` gives the heading of each figure.

    If labels were compared, the last column is the share of labels equal to those of the reference.
    """
    compared = any("label_agreement" in figures for figures in results.values())
    headings = ["contender", *columns.values(), *(["labels"] if compared else [])]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for contender in contenders:
        figures = results[contender.name]
        if "error" in figures:
            lines.append(f"| {contender.what} | left out: {figures['error']} {'| ' * (len(headings) - 2)}|")
            continue
        cells = [_cell(figures[key]) for key in columns]
        agreement = [f"{figures['label_agreement']:.1%}"] if compared else []
        lines.append(f"| {' | '.join([contender.what, *cells, *agreement])} |")
    return "\n".join(lines) + "\n"


def _cell(figure: Result) -> str:
    return f"{figure['median']:.4g} ({figure['p10']:.4g}–{figure['p90']:.4g})" if figure["rounds"] else "none"
