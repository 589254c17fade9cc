"""Keeps the results of finished runs, so that a stopped measurement resumes."""

import json
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import click
from harness import CONTENDERS, ROOT, Bench, Contender, Result, run_once


class Journal:
    """A file of finished runs, one JSON line each, from which a stopped measurement resumes.

    Each set of `settings`, which include the digest of the measured code, has its own file. Runs of different
    measurements are not mixed, because the machine may have been faster at another time.
    """

    def __init__(self, bench: Bench, *settings: object) -> None:
        identity = [bench.threads, hash_files(_list_model_files(bench)), *settings]
        name = sha256(json.dumps(identity).encode()).hexdigest()[:12]
        self.path = path = bench.workdir / "journals" / f"{name}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.done: dict[str, Result] = {line["key"]: line["result"] for line in map(json.loads, lines)}

    def run_once(self, bench: Bench, contender: Contender, corpus: Path, *, number: int) -> Result:
        """Return the result of a run from the journal, or run it now.

        Failures are not written to the journal, so the next call tries again.
        """
        key = _key(bench, contender, corpus, number)
        if key in self.done:
            return self.done[key]
        click.echo(f"{time.strftime('%H:%M:%S')} {number} {contender.name} {corpus.name} ... ", err=True, nl=False)
        result = run_once(bench, contender, corpus)
        click.echo(result.get("error") or f"{result['seconds_total']} s", err=True)
        if "error" not in result:
            self.done[key] = result
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "contender": contender.name, "result": result}) + "\n")
        return result


def _key(bench: Bench, contender: Contender, corpus: Path, number: int) -> str:
    """Return the identity of a run: contender, flags, corpus, round, and a digest of the code and the model."""
    names = (contender.script, "contender.py", *contender.imports)
    code = [*_list_model_files(bench), *(CONTENDERS / name for name in names)]
    digest = code_digest() if contender.ours else hash_files(code)
    return f"{digest} {contender.name} {' '.join(contender.flags)} {corpus.name}, round {number}"


def _list_model_files(bench: Bench) -> list[Path]:
    """Return the files that identify the checkpoint and, if there is one, the bundle."""
    return [path for path in (bench.bundle / "bundle.json", bench.checkpoint / "config.json") if path.exists()]


def code_digest() -> str:
    """Return a short hash of this project's code."""
    return hash_files([*sorted((ROOT / "sentiment_ray").rglob("*.py")), *sorted((ROOT / "jobs").glob("*.py"))])


def hash_files(paths: Sequence[Path]) -> str:
    """Return a short hash of the bytes of some files."""
    digest = sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
