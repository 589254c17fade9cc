"""Compares the speed of scoring Parquet files with this project and with other libraries.

Run `prepare` first, then `measure`. README.md in this directory has the commands.
"""

from pathlib import Path

import click
from corpora import describe, mixed_corpus
from harness import Bench, Contender, Result, RunError, bench_options, machine, rows_per_s
from journal import Journal, code_digest
from preparing import OPTIMUM, make_export, prepare_command
from side_by_side import build_table, check_all, choose, read_versions, summarise_rounds

from sentiment_ray.config.shell import print_result, run

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
RATIOS = {"ours_faster_whole": "rows_per_s_whole", "ours_faster_steady": "rows_per_s_steady"}
COLUMNS = {
    "seconds_first_part": "first part, s",
    "rows_per_s_whole": "rows/s, whole",
    "rows_per_s_steady": "rows/s, steady",
    "ours_faster_whole": "ours faster, whole",
    "ours_faster_steady": "steady",
}


@click.group()
def main() -> None:
    """Compare bulk scoring of Parquet reviews with other libraries."""


main.add_command(prepare_command(CONTENDERS))


@main.command()
@bench_options
@click.option("--rows", default=1500, show_default=True, help="Rows that every contender scores.")
@click.option("--short-rows", default=150, show_default=True, help="Rows of the short job.")
@click.option("--long-rows", default=12_000, show_default=True, help="Rows of the long job, for this project alone.")
@click.option("--duplicates", default=0.0, show_default=True, help="Share of the rows that repeat others.")
@click.option("--only", multiple=True, help="Contenders to measure; may be given several times. [all]")
@click.option("--report", type=click.Path(path_type=Path), help="File for the Markdown table. [stderr]")
def measure(
    bench: Bench, samples: Path, rounds: int, rows: int, short_rows: int, long_rows: int, duplicates: float,
    only: tuple[str, ...], report: Path | None,
) -> None:  # fmt: skip
    """Check the labels of every contender, then measure all of them in each round; print a JSON line and a table.

    A stopped measurement resumes: WORKDIR/journals/ holds the finished runs.
    """
    chosen = choose(CONTENDERS, only, always=OURS)
    names = [contender.name for contender in chosen]
    journal = Journal(bench, code_digest(), names, short_rows, rows, long_rows, duplicates)
    corpora = {
        size: mixed_corpus(bench.workdir / "corpora", samples, rows=size, duplicates=duplicates)
        for size in (short_rows, rows, long_rows)
    }
    make_export(bench, OPTIMUM)
    machine_info = machine()
    click.echo(f"{bench.threads} threads each, {rounds} rounds, {rows} rows; load {machine_info['load']:.2f}", err=True)
    checks = check_all(bench, chosen, [corpora[short_rows], corpora[rows]])
    able = [contender for contender in chosen if "error" not in checks[contender.name]]
    runs: dict[str, list[list[Result]]] = {contender.name: [] for contender in able}
    for number in range(1, rounds + 1):
        for contender in able:
            sizes = (short_rows, rows, long_rows) if contender.ours else (short_rows, rows)
            done = [journal.run_once(bench, contender, corpora[size], number=number) for size in sizes]
            runs[contender.name].append(done)
    settings = {"threads": bench.threads, "rows": rows, "duplicates": duplicates, "corpus": describe(corpora[rows])}
    table = {contender.name: checks[contender.name] for contender in chosen}
    for contender in able:
        table[contender.name] |= summarise_rounds(
            runs[contender.name], runs.get(OURS.name, []), _round_figures, names=tuple(COLUMNS), ratios=RATIOS
        )
    text = build_table(chosen, table, COLUMNS)
    report.write_text(text, encoding="utf-8") if report else click.echo(text, err=True)
    print_result({"machine": machine_info, **settings, "versions": read_versions(bench, chosen), "contenders": table})


def _round_figures(runs: list[Result]) -> dict[str, float]:
    """Return the figures of a round: the short run, the full run, and for this project the long run."""
    steady = rows_per_s(runs[0], runs[-1])
    full = runs[1]
    if "error" in full:
        raise RunError(full["error"])
    return {
        "seconds_first_part": full["seconds_first_part"],
        "rows_per_s_whole": full["rows"] / full["seconds_total"],
        "rows_per_s_steady": steady,
    }


if __name__ == "__main__":
    run(main)
