"""Compares fine-tuning the same encoder on the same reviews with this project and with the Trainer of transformers.

Run `prepare` first, then `measure`. README.md in this directory has the commands.
"""

import signal
import sys
from pathlib import Path

import click
from corpora import SOURCES_BY_LENGTH, training_corpus
from harness import Bench, Contender, Result, RunError, machine
from journal import Journal, code_digest
from preparing import prepare_command
from side_by_side import build_table, read_versions, summarise_rounds

from sentiment_ray.config.shell import print_result, run

IMPORTS = ("training.py",)
OURS = Contender(
    "ours",
    "train_ours.py",
    "sentiment-ray-train",
    "this project under Ray Train",
    ("--ray",),
    ours=True,
    imports=IMPORTS,
)
CONTENDERS = (
    OURS,
    Contender("loop", OURS.script, OURS.environment, "this project's loop without Ray", ours=True, imports=IMPORTS),
    Contender(
        "loop-dropout",
        OURS.script,
        OURS.environment,
        "the same with the model's dropout of 0.1",
        ("--model-dropout",),
        ours=True,
        imports=IMPORTS,
    ),
    Contender(
        "loop-half",
        OURS.script,
        OURS.environment,
        "the loop on the first half of the rows",
        ("--half",),
        ours=True,
        imports=IMPORTS,
    ),
    Contender("trainer", "train_trainer.py", "trainer", "Trainer, as documented", imports=IMPORTS),
    Contender(
        "trainer-tuned", "train_trainer.py", "trainer", "Trainer, bf16, by length", ("--tuned",), imports=IMPORTS
    ),
)
COLUMNS = {
    "tokens_per_s": "real tokens/s",
    "ours_faster": "ours faster",
    "accuracy": "held-out accuracy",
    "validation_loss": "held-out loss",
    "seconds": "training, s",
    "seconds_total": "whole command, s",
}


@click.group()
def main() -> None:
    """Compare training speed (tokens per second) and held-out accuracy with the Trainer of transformers."""


main.add_command(prepare_command(CONTENDERS))


@main.command(epilog="\b\nExample:\n  python benchmarks/train_vs_trainer.py measure --workdir runs/benchmarks")
@click.option("--workdir", required=True, type=click.Path(path_type=Path, resolve_path=True))
@click.option("--model", default="data/samples/minilm", show_default=True, type=click.Path(path_type=Path))
@click.option("--samples", default="data/samples", show_default=True, type=click.Path(path_type=Path))
@click.option("--rows", default=2000, show_default=True, help="Training rows of each corpus.")
@click.option("--held-out", default=1000, show_default=True, help="Rows to measure the trained models on.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each contender.")
@click.option("--threads", default=2, show_default=True, help="Cores of each contender.")
@click.option("--corpus", "names", multiple=True, type=click.Choice(list(SOURCES_BY_LENGTH)), help="[all]")
@click.option("--only", multiple=True, type=click.Choice([contender.name for contender in CONTENDERS]), help="[all]")
@click.option("--report", type=click.Path(path_type=Path), help="File for the Markdown tables. [stderr]")
def measure(
    workdir: Path, model: Path, samples: Path, rows: int, held_out: int, rounds: int, threads: int,
    names: tuple[str, ...], only: tuple[str, ...], report: Path | None,
) -> None:  # fmt: skip
    """Train one epoch with each contender in every round; print a JSON line and a table for each corpus."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stopped measurement also ends its running contender
    bench = Bench(workdir, bundle=model.resolve(), checkpoint=model.resolve(), threads=threads, timeout_s=3600)
    chosen = [contender for contender in CONTENDERS if not only or contender.name in (*only, OURS.name)]
    machine_info, text = machine(), ""
    corpora = {
        name: training_corpus(workdir / "corpora", samples, lengths=name, rows=rows, held_out=held_out)
        for name in names or SOURCES_BY_LENGTH
    }
    journal = Journal(bench, "train", code_digest(), rows, held_out)
    turns: dict[tuple[str, str], list[list[Result]]] = {}
    for number in range(1, rounds + 1):
        for name, corpus in corpora.items():
            for contender in chosen:
                done = journal.run_once(bench, contender, corpus, number=number)
                turns.setdefault((name, contender.name), []).append([done])
    for name in corpora:
        table = {
            contender.name: summarise_rounds(
                turns[name, contender.name],
                turns[name, OURS.name],
                _compute_figures,
                names=(*COLUMNS, "ours_faster"),
                ratios={"ours_faster": "tokens_per_s"},
            )
            for contender in chosen
        }
        text += f"{name}\n\n{build_table(chosen, table, COLUMNS)}\n"
        settings = {"machine": machine_info, "threads": threads, "rows": rows, "versions": read_versions(bench, chosen)}
        print_result({"corpus": name} | settings | {"contenders": table})
    report.write_text(text, encoding="utf-8") if report else click.echo(text, err=True)


def _compute_figures(turn: list[Result]) -> dict[str, float]:
    (done,) = turn
    if "error" in done:
        raise RunError(done["error"])
    known = ("accuracy", "validation_loss", "seconds", "seconds_total")
    return {"tokens_per_s": done["tokens"] / done["seconds"]} | {name: done[name] for name in known}


if __name__ == "__main__":
    run(main)
