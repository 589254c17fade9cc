"""Measures how scoring with this project scales; prints one JSON line for each question.

It uses the environment `sentiment-ray` that `score_vs_peers.py prepare` makes. README.md in this directory has the
commands.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from corpora import cut_corpus, mixed_corpus
from harness import Bench, Contender, Result, RunError, bench_options, machine, rows_per_s, spread
from journal import Journal, code_digest
from pyarrow import dataset

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.errors import ConfigError

JOB = Contender(
    "ours", "sentiment_ray_job.py", "sentiment-ray", "one worker a thread", label_column="sentiment_label", ours=True
)
ONE_WORKER = Contender(
    "ours-1-worker",
    "sentiment_ray_job.py",
    "sentiment-ray",
    "one worker of one thread",
    ("--num-workers", "1", "--cpus-per-worker", "1"),
    label_column="sentiment_label",
    ours=True,
)
BARE_PROCESS = Contender("bare-1x2", "sentiment_ray_bare.py", "sentiment-ray", "one process", ours=True)
BARE_PROCESSES = Contender(
    "bare-2x1", "sentiment_ray_bare.py", "sentiment-ray", "a process a thread", ("--processes", "2"), ours=True
)
SHARES = {16: 1.5, 32: 1.0, 64: 0.75, 128: 0.5, 256: 0.25}
"""Words of a text, and the rows of such texts as a share of the long job, so that all corpora take similar times."""
DUPLICATES = 0.4


@dataclass(frozen=True)
class Setting:
    """What the questions share: the bench, the source of the texts, and the rows of the short and the long job."""

    bench: Bench
    samples: Path
    journal: Journal
    short_rows: int
    long_rows: int

    def mixed(self, rows: int, duplicates: float = 0.0) -> Path:
        """Return the corpus of reviews of all lengths with this number of rows."""
        return mixed_corpus(self.bench.workdir / "corpora", self.samples, rows=rows, duplicates=duplicates)

    def cut(self, rows: int, words: int) -> Path:
        """Return the corpus with this number of texts of this number of words."""
        return cut_corpus(self.bench.workdir / "corpora", self.samples, rows=rows, words=words)

    def score(self, contender: Contender, corpus: Path, number: int) -> Result:
        """Return the result of one run of a round; RunError when it failed."""
        result = self.journal.run_once(self.bench, contender, corpus, number=number)
        if "error" in result:
            raise RunError(f"{contender.name} on {corpus.name}: {result['error']}")
        return result

    def rate(self, contender: Contender, number: int) -> float:
        """Return the rows per second between the short and the long job of a round."""
        short = self.score(contender, self.mixed(self.short_rows), number)
        return rows_per_s(short, self.score(contender, self.mixed(self.long_rows), number))


def through_ray(setting: Setting, number: int) -> dict[str, float]:
    """What share of the speed of a plain loop on the same cores does the job under Ray reach?"""
    job, processes = setting.rate(JOB, number), setting.rate(BARE_PROCESSES, number)
    process = setting.rate(BARE_PROCESS, number)
    figures = {"job_rows_per_s": job, "bare_2x1_rows_per_s": processes, "bare_1x2_rows_per_s": process}
    return {"ratio": job / max(processes, process), **figures}


def first_part(setting: Setting, number: int) -> dict[str, float]:
    """After how many seconds is the first part written, with the start of a local cluster?"""
    result = setting.score(JOB, setting.mixed(setting.long_rows), number)
    share = result["seconds_first_part"] / result["seconds_total"]
    return {"ratio": share, "seconds": result["seconds_first_part"], "seconds_total": result["seconds_total"]}


def duplicates(setting: Setting, number: int) -> dict[str, float]:
    """How much longer does a corpus with 40 % repeated rows take than its distinct rows alone?"""
    unique_rows = round(setting.long_rows * (1 - DUPLICATES))
    short = setting.score(JOB, setting.mixed(setting.short_rows), number)["seconds_total"]
    repeated = setting.score(JOB, setting.mixed(setting.long_rows, DUPLICATES), number)["seconds_total"]
    unique = setting.score(JOB, setting.mixed(unique_rows), number)["seconds_total"]
    return {"ratio": repeated / unique, "ratio_without_start": (repeated - short) / (unique - short)}


def workers(setting: Setting, number: int) -> dict[str, float]:
    """How many times faster are two workers than one, with one core each?"""
    two, one = setting.rate(JOB, number), setting.rate(ONE_WORKER, number)
    return {"ratio": two / one, "two_rows_per_s": two, "one_rows_per_s": one}


def tokens(setting: Setting, number: int) -> dict[str, float]:
    """Does the time grow linearly with the tokens? The ratio is the slope of log time over log tokens; 1 is linear.

    Each token attends to all tokens of its text, which grows with their square. `ratio_without_attention` is the slope
    after this share of the multiplications has been taken out of the time; it follows from the model's shape alone.
    """
    start = setting.score(JOB, setting.cut(setting.short_rows, min(SHARES)), number)
    seconds, num_tokens = [], []
    for words, share in SHARES.items():
        corpus = setting.cut(round(share * setting.long_rows), words)
        seconds.append(1 / rows_per_s(start, setting.score(JOB, corpus, number)))
        num_tokens.append(_tokens_per_row(setting, corpus))
    slope, _ = np.polyfit(np.log(num_tokens), np.log(seconds), 1)
    linear_share = 1 / (1 + np.array(num_tokens) * _attention_per_token(setting.bench.bundle))
    linear_slope, _ = np.polyfit(np.log(num_tokens), np.log(np.array(seconds) * linear_share), 1)
    figures = {f"ms_per_row_at_{words}_words": 1000 * value for words, value in zip(SHARES, seconds, strict=True)}
    return {"ratio": float(slope), "ratio_without_attention": float(linear_slope), **figures}


def _attention_per_token(bundle: Path) -> float:
    """Return the multiplications of a token that attends to one more, as a share of those of all its other layers."""
    shape = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    hidden, intermediate = shape["hidden_size"], shape["intermediate_size"]
    return float(2 * hidden / (4 * hidden**2 + 2 * hidden * intermediate))


def _tokens_per_row(setting: Setting, corpus: Path) -> float:
    scores = dataset.dataset(setting.bench.output_path(JOB, corpus), partitioning="hive")
    return float(np.mean(scores.to_table(columns=["sentiment_tokens"])["sentiment_tokens"].to_numpy()))


QUESTIONS: dict[str, Callable[[Setting, int], dict[str, float]]] = {
    question.__name__.replace("_", "-"): question for question in (through_ray, first_part, duplicates, workers, tokens)
}


@click.command()
@bench_options
@click.option("--short-rows", default=150, show_default=True, help="Rows of the short job.")
@click.option("--long-rows", default=12_000, show_default=True, help="Rows of the long job.")
@click.option("--only", multiple=True, help=f"Questions to answer: {', '.join(QUESTIONS)}. [all]")
def main(bench: Bench, samples: Path, rounds: int, short_rows: int, long_rows: int, only: tuple[str, ...]) -> None:
    """Answer every question once in each round; runs in the journal are not repeated."""
    unknown = set(only) - set(QUESTIONS)
    if unknown:
        raise ConfigError(f"--only {sorted(unknown)[0]} is unknown. Known: {', '.join(QUESTIONS)}.")
    setting = Setting(
        bench, samples, Journal(bench, code_digest(), "scaling", short_rows, long_rows), short_rows, long_rows
    )
    machine_info = machine()
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in only or QUESTIONS}
    failed: dict[str, list[str]] = {name: [] for name in answers}
    for number in range(1, rounds + 1):
        for name in answers:
            try:
                answers[name].append(QUESTIONS[name](setting, number))
            except RunError as error:
                failed[name].append(str(error))
    for name, rows in _figures(answers):
        question_text = " ".join((QUESTIONS[name].__doc__ or "").split())
        settings = {"threads": bench.threads, "machine": machine_info, "failed_runs": failed[name]}
        print_result({"question": name, "asked": question_text, **rows, **settings})


def _figures(answers: dict[str, list[dict[str, float]]]) -> Iterator[tuple[str, Result]]:
    """Yield each question with the spread of each of its figures over the rounds."""
    for name, rounds in answers.items():
        keys = rounds[0] if rounds else []
        yield name, {key: spread([figures[key] for figures in rounds]) for key in keys}


if __name__ == "__main__":
    run(main)
