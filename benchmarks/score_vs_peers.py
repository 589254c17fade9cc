"""Scores the same reviews with this project and with its named peers, in turns, and says how many times faster it is.

First `prepare`, then `measure`; README.md beside this file has the commands.
"""

import shutil
import subprocess
import sys
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

import click
from corpora import describe, mixed_corpus
from harness import (
    ROOT,
    Bench,
    Contender,
    Journal,
    Result,
    RunError,
    bench_options,
    code_digest,
    digest_of,
    labels_of,
    machine,
    rows_per_s,
    spread,
)

from sentiment_ray.errors import ConfigError
from sentiment_ray.shell import print_result, run

REFERENCE = Contender("reference", "reference.py", "datasets", "torch fp32, one text at a time")
OURS = Contender(
    "ours", "sentiment_ray_job.py", "sentiment-ray", "jobs.score_reviews", label_column="sentiment_label", ours=True
)
CONTENDERS = (
    OURS,
    Contender(
        "ours-fp32",
        "sentiment_ray_job.py",
        "sentiment-ray",
        "jobs.score_reviews, fp32 file",
        ("--variant", "fp32"),
        label_column="sentiment_label",
        ours=True,
    ),
    Contender("bare-1x2", "sentiment_ray_bare.py", "sentiment-ray", "Predictor, 1 process", ours=True),
    Contender(
        "bare-2x1", "sentiment_ray_bare.py", "sentiment-ray", "Predictor, 2 processes", ("--processes", "2"), ours=True
    ),
    Contender("ray", "ray_pipeline.py", "ray-transformers", "Ray Data + pipeline, as documented"),
    Contender("ray-tuned", "ray_pipeline_tuned.py", "ray-transformers", "Ray Data + pipeline, tuned"),
    Contender("ray-ort", "ray_onnxruntime.py", "ray-onnxruntime", "Ray Data + Optimum ORT, as documented"),
    Contender("ray-ort-tuned", "ray_onnxruntime_tuned.py", "ray-onnxruntime", "Ray Data + Optimum ORT, tuned"),
    Contender(
        "ray-ort-int8",
        "ray_onnxruntime_tuned.py",
        "ray-onnxruntime",
        "Ray Data + Optimum ORT, tuned, int8",
        ("--file", "model_quantized.onnx"),
    ),
    Contender("datasets", "datasets_pipeline.py", "datasets", "datasets.map + pipeline, as documented"),
    Contender("datasets-tuned", "datasets_pipeline_tuned.py", "datasets", "datasets + pipeline, tuned"),
    Contender("daft", "daft_pipeline.py", "daft", "Daft + pipeline, as documented"),
    Contender("daft-tuned", "daft_pipeline_tuned.py", "daft", "Daft + pipeline, tuned"),
    Contender("spark", "spark_pipeline.py", "spark", "Spark pandas UDF + pipeline, as documented"),
    Contender("spark-tuned", "spark_pipeline_tuned.py", "spark", "Spark pandas UDF + pipeline, tuned"),
)
MIN_AGREEMENT = 0.99
FIGURES = (
    "seconds_first_part", "rows_per_s_whole", "rows_per_s_steady", "ours_faster_whole", "ours_faster_steady",
)  # fmt: skip
TOLD_VERSIONS = {
    "daft", "datasets", "onnxruntime", "openvino", "optimum-onnx", "pyarrow", "pyspark", "ray", "tokenizers", "torch",
    "transformers",
}  # fmt: skip


@click.group()
def main() -> None:
    """Measure bulk scoring of Parquet reviews side by side with named peers."""


@main.command()
@click.option("--workdir", required=True, type=click.Path(path_type=Path), help="Where the environments are made.")
@click.option("--python", default=sys.executable, help="Interpreter to make them with. [this one]")
def prepare(workdir: Path, python: str) -> None:
    """Make a virtual environment for each file of benchmarks/environments/; those that are ready stay."""
    failed = {}
    for requirements in sorted((ROOT / "benchmarks/environments").glob("*.txt")):
        error = _make_environment(workdir / "environments" / requirements.stem, requirements, python)
        click.echo(f"{requirements.stem}: {error or 'ready'}", err=True)
        if error:
            failed[requirements.stem] = error
    print_result({"workdir": str(workdir), "failed": failed})


def _make_environment(directory: Path, requirements: Path, python: str) -> str | None:
    """Make one environment with pip and return why it could not be made, or None."""
    sources = (requirements, ROOT / "constraints.txt", ROOT / "pyproject.toml")
    wanted = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = directory / "made-from"
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    make = [python, "-m", "venv", str(directory)]
    install = [str(directory / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (make, [*install, "-r", str(requirements)]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "failed")
    freeze = [str(directory / "bin/python"), "-m", "pip", "freeze", "--disable-pip-version-check"]
    versions = subprocess.run(freeze, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (directory / "versions.txt").write_text(versions)
    stamp.write_text(wanted)
    return None


def _export_with_optimum(bench: Bench) -> None:
    """Export the checkpoint, and quantise it, with Optimum's own commands as documented; what is ready stays."""
    wanted, stamp = digest_of([bench.checkpoint / "model.safetensors"]), bench.optimum / "made-from"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(bench.optimum, ignore_errors=True)
    cli = bench.python_of("ray-onnxruntime").parent / "optimum-cli"
    export = ["export", "onnx", "--model", bench.checkpoint, "--task", "text-classification", bench.optimum]
    quantise = ["onnxruntime", "quantize", "--avx512_vnni", "--onnx_model", bench.optimum, "-o", bench.optimum / "int8"]
    for command in (export, quantise):
        done = subprocess.run([cli, *command], cwd=bench.workdir, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ConfigError(f"optimum-cli {command[0]} failed: {done.stderr[-300:]}")
    shutil.copy(bench.optimum / "int8/model_quantized.onnx", bench.optimum)
    stamp.write_text(wanted)


@main.command()
@bench_options
@click.option("--rows", default=1500, show_default=True, help="Rows that every contender scores.")
@click.option("--short-rows", default=150, show_default=True, help="Rows of the short job of the slope.")
@click.option("--long-rows", default=12_000, show_default=True, help="Rows of the long job of this project.")
@click.option("--duplicates", default=0.0, show_default=True, help="Share of rows that repeat others.")
@click.option("--only", multiple=True, help="Contenders to measure; may be given several times. [all]")
@click.option("--report", type=click.Path(path_type=Path), help="File for the Markdown table. [stderr]")
def measure(
    bench: Bench, samples: Path, rounds: int, rows: int, short_rows: int, long_rows: int, duplicates: float,
    only: tuple[str, ...], report: Path | None,
) -> None:  # fmt: skip
    """Check what every contender answers, then let them score in turns; one JSON line, and a table.

    A measurement that was stopped goes on where it was: finished runs stand in WORKDIR/journals/.
    """
    unknown = set(only) - {contender.name for contender in CONTENDERS}
    if unknown:
        raise ConfigError(f"--only {sorted(unknown)[0]} is unknown. Known: {', '.join(c.name for c in CONTENDERS)}.")
    chosen = [contender for contender in CONTENDERS if not only or contender.name in (*only, OURS.name)]
    names = [contender.name for contender in chosen]
    journal = Journal(bench, code_digest(), names, short_rows, rows, long_rows, duplicates)
    corpora = {
        size: mixed_corpus(bench.workdir / "corpora", samples, rows=size, duplicates=duplicates)
        for size in (short_rows, rows, long_rows)
    }
    _export_with_optimum(bench)
    where = machine()
    click.echo(f"{bench.threads} threads each, {rounds} rounds, {rows} rows; load {where['load']:.2f}", err=True)
    checks = _check_all(bench, chosen, [corpora[short_rows], corpora[rows]])
    able = [contender for contender in chosen if "error" not in checks[contender.name]]
    runs: dict[str, list[list[Result]]] = {contender.name: [] for contender in able}
    for number in range(1, rounds + 1):
        for contender in able:
            sizes = (short_rows, rows, long_rows) if contender.ours else (short_rows, rows)
            done = [journal.once(bench, contender, corpora[size], number=number) for size in sizes]
            runs[contender.name].append(done)
    settings = {"threads": bench.threads, "rows": rows, "duplicates": duplicates, "corpus": describe(corpora[rows])}
    table = {contender.name: checks[contender.name] for contender in chosen}
    for contender in able:
        table[contender.name] |= _figures(runs[contender.name], runs.get(OURS.name, []))
    text = _markdown(chosen, table)
    report.write_text(text, encoding="utf-8") if report else click.echo(text, err=True)
    print_result({"machine": where, **settings, "versions": _versions(bench, chosen), "contenders": table})


def _check_all(bench: Bench, contenders: list[Contender], corpora: list[Path]) -> dict[str, Result]:
    """Hold the labels of every contender against the reference's, on the smaller and the larger of two corpora.

    Returns the share of equal labels a contender, or `error`: why it takes no part. These runs warm the files up.
    """
    short, full = corpora
    journal = Journal(bench, "checks")
    for corpus in corpora:
        result = journal.once(bench, REFERENCE, corpus, number=0)
        if "error" in result:
            raise ConfigError(f"the reference failed on {corpus.name}: {result['error']}")
    checks: dict[str, Result] = {}
    for contender in contenders:
        for corpus in (short, full):
            checks[contender.name] = _check(bench, contender, corpus, journal.once(bench, contender, corpus, number=0))
            if "error" in checks[contender.name]:
                click.echo(f"{contender.name} is left out: {checks[contender.name]['error']}", err=True)
                break
    return checks


def _check(bench: Bench, contender: Contender, corpus: Path, result: Result) -> Result:
    """Return the share of labels that agree, or the error that keeps a contender out."""
    if "error" in result:
        return {"error": result["error"]}
    expected, found = labels_of(bench, REFERENCE, corpus), labels_of(bench, contender, corpus)
    if expected.keys() != found.keys() or result["rows"] != len(expected):
        return {"error": f"{result['rows']} rows came back of {len(expected)}, or other ids"}
    agreement = sum(found[key] == label for key, label in expected.items()) / len(expected)
    if agreement < MIN_AGREEMENT:
        return {"error": f"agrees with the reference on {agreement:.1%} of the labels"}
    return {"label_agreement": round(agreement, 4)}


def _figures(rounds: list[list[Result]], ours: list[list[Result]]) -> Result:
    """Return the spread of a contender's figures over the rounds, and of how many times faster this project is.

    A ratio compares runs of one round; a round in which a run failed is left out and named.
    """
    values: dict[str, list[float]] = {key: [] for key in FIGURES}
    failed = []
    for other, own in zip_longest(rounds, ours):
        try:
            figures = _round_figures(other)
            if own is not None:
                reference = _round_figures(own)
                figures["ours_faster_whole"] = reference["rows_per_s_whole"] / figures["rows_per_s_whole"]
                figures["ours_faster_steady"] = reference["rows_per_s_steady"] / figures["rows_per_s_steady"]
        except RunError as error:
            failed.append(str(error))
            continue
        for key, value in figures.items():
            values[key].append(value)
    return {key: spread(found) for key, found in values.items()} | {"failed_rounds": failed}


def _round_figures(runs: list[Result]) -> dict[str, float]:
    """Return the figures of a short run, the full one that every contender does, and for this project the long one."""
    steady = rows_per_s(runs[0], runs[-1])
    full = runs[1]
    if "error" in full:
        raise RunError(full["error"])
    return {
        "seconds_first_part": full["seconds_first_part"],
        "rows_per_s_whole": full["rows"] / full["seconds_total"],
        "rows_per_s_steady": steady,
    }


def _versions(bench: Bench, contenders: list[Contender]) -> dict[str, list[str]]:
    """Return the releases that matter in every environment that takes part."""
    versions = {}
    for name in sorted({contender.environment for contender in contenders}):
        lines = (bench.workdir / "environments" / name / "versions.txt").read_text().splitlines()
        versions[name] = [line for line in lines if line.partition("==")[0] in TOLD_VERSIONS]
    return versions


def _markdown(contenders: list[Contender], table: dict[str, Result]) -> str:
    lines = [
        "| contender | first part, s | rows/s, whole | rows/s, steady | ours faster, whole | steady | labels |",
        "|---|---|---|---|---|---|---|",
    ]
    for contender in contenders:
        figures = table[contender.name]
        if "error" in figures:
            lines.append(f"| {contender.what} | left out: {figures['error']} | | | | | |")
            continue
        cells = " | ".join(_cell(figures[key]) for key in FIGURES)
        lines.append(f"| {contender.what} | {cells} | {figures['label_agreement']:.1%} |")
    return "\n".join(lines) + "\n"


def _cell(figure: Result) -> str:
    return f"{figure['median']:.4g} ({figure['p10']:.4g}–{figure['p90']:.4g})" if figure["rounds"] else "none"


if __name__ == "__main__":
    run(main)
