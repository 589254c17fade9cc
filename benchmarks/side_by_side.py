"""What side-by-side measurements share: who takes part, whose answers agree, figures over rounds, the table."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import click
from harness import Bench, Contender, Journal, Result, RunError, column_of, spread

from sentiment_ray.errors import ConfigError

MIN_AGREEMENT = 0.99
TOLD_VERSIONS = {
    "ctranslate2", "daft", "datasets", "infinity-emb", "nncf", "onnxruntime", "openvino", "optimum-intel",
    "optimum-onnx", "pyarrow", "pyspark", "ray", "sentence-transformers", "tokenizers", "torch", "transformers",
}  # fmt: skip
REFERENCE = Contender("reference", "reference.py", "datasets", "torch fp32, one text at a time")


def choose(contenders: Sequence[Contender], only: tuple[str, ...], *, always: Contender) -> list[Contender]:
    """Return the contenders that were asked for, and the one they are compared with; all when none was named."""
    known = [contender.name for contender in contenders]
    for name in only:
        if name not in known:
            raise ConfigError(f"--only {name} is unknown. Known: {', '.join(known)}.")
    return [contender for contender in contenders if not only or contender.name in (*only, always.name)]


def check_all(
    bench: Bench, contenders: list[Contender], corpora: Sequence[Path], *, min_agreement: float = MIN_AGREEMENT
) -> dict[str, Result]:
    """Hold the labels of every contender against the reference's, on each of some corpora.

    Returns, by contender, the share of equal labels on the last corpus, or `error`: why it takes no part. These runs
    warm the files up.
    """
    journal = Journal(bench, "checks")
    for corpus in corpora:
        result = journal.once(bench, REFERENCE, corpus, number=0)
        if "error" in result:
            raise ConfigError(f"the reference failed on {corpus.name}: {result['error']}")
    checks: dict[str, Result] = {}
    for contender in contenders:
        for corpus in corpora:
            result = journal.once(bench, contender, corpus, number=0)
            checks[contender.name] = _check(bench, contender, corpus, result, min_agreement)
            if "error" in checks[contender.name]:
                click.echo(f"{contender.name} is left out: {checks[contender.name]['error']}", err=True)
                break
    return checks


def _check(bench: Bench, contender: Contender, corpus: Path, result: Result, min_agreement: float) -> Result:
    """Return the share of labels that agree, or the error that keeps a contender out."""
    if "error" in result:
        return {"error": result["error"]}
    expected = column_of(bench, REFERENCE, corpus, REFERENCE.label_column)
    found = column_of(bench, contender, corpus, contender.label_column)
    if expected.keys() != found.keys() or result["rows"] != len(expected):
        return {"error": f"{result['rows']} rows came back of {len(expected)}, or other ids"}
    agreement = sum(found[key] == label for key, label in expected.items()) / len(expected)
    if agreement < min_agreement:
        return {"error": f"agrees with the reference on {agreement:.1%} of the labels"}
    return {"label_agreement": round(agreement, 4)}


def figures_of(
    rounds: list[list[Result]],
    ours: list[list[Result]],
    figures_of_round: Callable[[list[Result]], dict[str, float]],
    *,
    names: Sequence[str],
    ratios: Mapping[str, str],
) -> Result:
    """Return the spread of a contender's figures `names` over the rounds, and of how many times faster this project is.

    `ratios` names the figure of which each is ours ÷ the contender's. A ratio compares runs of one round; a round in
    which a run failed is left out and named.
    """
    values: dict[str, list[float]] = {name: [] for name in names}
    failed = []
    for other, own in zip_longest(rounds, ours):
        try:
            figures = figures_of_round(other)
            if own is not None:
                reference = figures_of_round(own)
                figures |= {ratio: reference[name] / figures[name] for ratio, name in ratios.items()}
        except RunError as error:
            failed.append(str(error))
            continue
        for key, value in figures.items():
            values[key].append(value)
    return {key: spread(found) for key, found in values.items()} | {"failed_rounds": failed}


def versions_of(bench: Bench, contenders: list[Contender]) -> dict[str, list[str]]:
    """Return the releases that matter in every environment that takes part."""
    versions = {}
    for name in sorted({contender.environment for contender in contenders}):
        path = bench.workdir / "environments" / name / "versions.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        versions[name] = [line for line in lines if line.partition("==")[0] in TOLD_VERSIONS]
    return versions


def table_of(contenders: list[Contender], found: Mapping[str, Result], columns: Mapping[str, str]) -> str:
    """Return a Markdown table with a line a contender; `columns` gives the heading of each figure.

    A last column has the share of labels that are those of the reference, where they were compared.
    """
    compared = any("label_agreement" in figures for figures in found.values())
    headings = ["contender", *columns.values(), *(["labels"] if compared else [])]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for contender in contenders:
        figures = found[contender.name]
        if "error" in figures:
            lines.append(f"| {contender.what} | left out: {figures['error']} {'| ' * (len(headings) - 2)}|")
            continue
        cells = [_cell(figures[key]) for key in columns]
        agreement = [f"{figures['label_agreement']:.1%}"] if compared else []
        lines.append(f"| {' | '.join([contender.what, *cells, *agreement])} |")
    return "\n".join(lines) + "\n"


def _cell(figure: Result) -> str:
    return f"{figure['median']:.4g} ({figure['p10']:.4g}–{figure['p90']:.4g})" if figure["rounds"] else "none"
