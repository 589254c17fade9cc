"""The command `sentiment-ray`: uses, serves and checks a bundle; knows no stage of the pipeline."""

import codecs
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from sentiment_ray.config import shell
from sentiment_ray.config.flags import make_flags, make_verbose_flag
from sentiment_ray.engine_specs import list_engines
from sentiment_ray.errors import ConfigError, require_extra
from sentiment_ray.manifest import format_json
from sentiment_ray.openai_api.command import openai_api_commands
from sentiment_ray.serve.config import ServeConfig

LINES_PER_BATCH = 1024

signature_option = click.option(
    "--require-signature",
    metavar="PUBLIC_KEY",
    help="Refuse a bundle that the owner of this public key (a PEM file) has not signed.",
)


@click.group(epilog="\b\nExample:\n  sentiment-ray predict runs/demo/bundle 'This is a cherry pie.'")
@click.version_option(package_name="sentiment-ray")
def commands() -> None:
    """Use, serve and check a bundle of sentiment models."""


@commands.command(epilog="\b\nExample:\n  cat reviews.txt | sentiment-ray predict runs/demo/bundle > scores.jsonl")
@click.argument("bundle")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--engine", default="auto", help=f"auto, {list_engines()}. [auto]")
@click.option("--variant", default="auto", help="auto, or the name of a variant, which `inspect` shows. [auto]")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the engine. [one for each core, at most the CPU quota]"
)
@signature_option
def predict(
    bundle: str, texts: tuple[str, ...], engine: str, variant: str, threads: int | None, require_signature: str | None
) -> None:
    """Print the sentiment of each TEXT, or of each line of stdin, as one JSON line."""
    from sentiment_ray.inference.predictor import Predictor

    predictor = Predictor.load(
        bundle, engine=engine, variant=variant, threads=threads, require_signature=require_signature
    )
    for batch in [list(texts)] if texts else _read_batches():
        for text, prediction in zip(batch, predictor.predict(batch), strict=True):
            shell.print_result({"text": text, **asdict(prediction)})


@commands.command(epilog="\b\nExample:\n  sentiment-ray inspect runs/demo/bundle")
@click.argument("bundle")
@signature_option
def inspect(bundle: str, require_signature: str | None) -> None:
    """Check every byte of a bundle and print its manifest as JSON."""
    from sentiment_ray.bundle.open import verify_bundle

    manifest = verify_bundle(bundle, require_signature=require_signature).manifest.model_dump(mode="json")
    click.echo(format_json(manifest, indent=2, ensure_ascii=False))


@commands.command(epilog="\b\nExample:\n  sentiment-ray verify scores/ --sample 100 --bundle runs/demo/bundle")
@click.argument("path")
@click.option(
    "--sample", type=click.IntRange(min=1), help="Score this many random rows again, each alone, and compare."
)
@click.option("--bundle", help="The bundle that scores the sample again.")
@signature_option
def verify(path: str, sample: int | None, bundle: str | None, require_signature: str | None) -> None:
    """Check every byte and every sum of a bundle or of scores; PATH may be a URL for scores."""
    if (Path(path) / "bundle.json").is_file():
        from sentiment_ray.bundle.open import verify_bundle

        manifest = verify_bundle(path, require_signature=require_signature).manifest
        shell.print_result({"bundle": path, "verified": True, "files": len(manifest.files)})
        return
    if sample and not bundle:
        raise ConfigError("--sample needs a bundle that scores the sample again. Name it with --bundle.")
    if require_signature and not sample:
        raise ConfigError("--require-signature is for bundles, and scores have no signature. Leave it out.")
    from sentiment_ray.score.sample import compare_sample
    from sentiment_ray.score.verify import verify_scores

    result = verify_scores(path)
    if sample and bundle:
        result |= compare_sample(path, bundle, rows=sample, require_signature=require_signature)
    shell.print_result(result)


@commands.command(epilog="\b\nExample:\n  sentiment-ray bench runs/demo/bundle --batch 1,32 --tokens 32,128")
@click.argument("bundle")
@click.option("--batch", default="1,8,32", show_default=True, help="Texts in a call; several numbers between commas.")
@click.option(
    "--tokens",
    default="16,64,128",
    show_default=True,
    help="Tokens in a text, at most the bundle's max_tokens; several numbers between commas.",
)
@click.option("--threads", help="Threads of the engine. [1, and one for each core, at most the CPU quota]")
@click.option("--seconds", default=0.5, show_default=True, help="How long each combination is measured.")
@signature_option
def bench(
    bundle: str, batch: str, tokens: str, threads: str | None, seconds: float, require_signature: str | None
) -> None:
    """Measure the speed of every file and engine of a bundle here: JSON lines on stdout, a table on stderr."""
    from sentiment_ray.bundle.open import open_bundle
    from sentiment_ray.cpu_quota import count_usable_cpus
    from sentiment_ray.inference.bench import measure_bundle

    counts = _parse_numbers("--threads", threads) if threads else tuple(sorted({1, count_usable_cpus()}))
    click.echo(
        f"{'variant':<14}{'engine':<13}{'threads':>7}{'batch':>6}{'tokens':>7}{'rows/s':>10}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'of peak':>9}",
        err=True,
    )
    rows = measure_bundle(
        open_bundle(bundle, require_signature=require_signature),
        batches=_parse_numbers("--batch", batch),
        lengths=_parse_numbers("--tokens", tokens),
        threads=counts,
        seconds=seconds,
    )
    for row in rows:
        share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else ""
        click.echo(
            f"{row['variant']:<14}{row['engine']:<13}{row['threads']:>7}{row['batch']:>6}{row['tokens']:>7}"
            f"{row['rows_per_s']:>10,.1f}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{share:>9}",
            err=True,
        )
        shell.print_result(row)


@commands.command(epilog="\b\nExample:\n  sentiment-ray doctor runs/demo/bundle")
@click.argument("bundle", required=False)
@signature_option
def doctor(bundle: str | None, require_signature: str | None) -> None:
    """Print what this machine has and, with a BUNDLE, which of its files `auto` loads here and why."""
    from sentiment_ray.bundle.open import open_bundle
    from sentiment_ray.inference.doctor import diagnose, examine

    if require_signature and not bundle:
        raise ConfigError("--require-signature needs a bundle. Name it behind the command.")
    result = examine()
    if bundle:
        opened = open_bundle(bundle, require_signature=require_signature)
        result["bundle"] = diagnose(opened, require_signature=require_signature)
    click.echo(format_json(result, indent=2, ensure_ascii=False))


def _parse_numbers(flag: str, text: str) -> tuple[int, ...]:
    """Return the positive whole numbers between commas; ConfigError names the flag."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = (0,)
    if min(numbers) < 1:
        raise ConfigError(f"{flag} = {text!r}: give positive whole numbers between commas, such as 1,32.")
    return numbers


def _serve(**given: Any) -> None:
    """Answer POST /predict over HTTP; without --host, requests of this machine alone."""
    require_extra("serve", "uvicorn", "uvloop", "httptools", "msgspec", "orjson", "prometheus_client")
    from sentiment_ray.serve.server import serve

    serve(shell.read_config("serve", ServeConfig, given))


commands.add_command(
    click.Command(
        name="serve",
        callback=_serve,
        help=_serve.__doc__,
        params=[click.Argument(["bundle"]), *make_flags("serve", ServeConfig, without=("bundle",))],
        epilog="\b\nExample:\n  sentiment-ray serve runs/demo/bundle --port 8080",
        context_settings={"max_content_width": 110},
    )
)
commands.add_command(openai_api_commands)
for name, command in commands.commands.items():
    if name not in ("serve", "openai-api"):  # whose commands have the flag already, as those of a section
        command.params.append(make_verbose_flag(name))


def main() -> None:
    """Run the command line."""
    shell.run(commands)


def _read_batches() -> Iterator[list[str]]:
    """Yield lists of lines of stdin, without their ends; bytes that are not UTF-8 become replacement characters."""
    batch: list[str] = []
    for line in sys.stdin.buffer:
        batch.append(line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").rstrip("\r\n"))
        if len(batch) == LINES_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
