"""What the checks leave behind: the reports as files, a line on stderr, or the error that ends --check."""

from pathlib import Path
from shutil import rmtree
from typing import Any

import click

from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.data.counts import check_rejected, check_splits
from sentiment_ray.data.limits import spell_crossed
from sentiment_ray.data.report.findings import Checked
from sentiment_ray.data.report.page import write_page
from sentiment_ray.errors import ConfigError, GateError
from sentiment_ray.manifest import read_json, write_json

PAGE_NAME, REPORT_NAME = "report.html", "report.json"


def free_for_report(output: Path, manifest_name: str) -> None:
    """ConfigError unless an output is free, or holds no more than the reports of an earlier check."""
    if (output / manifest_name).is_file():
        raise ConfigError(
            f"output = {str(output)!r} holds prepared reviews, which --check would replace. Name another."
        )
    if not output.exists():
        return
    names = {path.name for path in output.glob("*")}
    if not output.is_dir() or (names and not (names <= {PAGE_NAME, REPORT_NAME} and _is_ours(output / REPORT_NAME))):
        raise ConfigError(f"output = {str(output)!r} is there and holds more than a report of --check. Name another.")


def _is_ours(report: Path) -> bool:
    return report.is_file() and "checks" in read_json(report)


def write_reports(config: PrepareConfig, manifest: dict[str, Any], checked: Checked, directory: Path) -> None:
    """Write the page and, with `check`, the numbers as JSON instead of everything else."""
    samples = checked.survey.samples | {"suspect_labels": checked.suspects.get("samples", [])}
    page = write_page(manifest | config.model_dump(mode="json", exclude={"sources"}), samples)
    if config.check:
        for path in directory.iterdir():
            rmtree(path)
        write_json(directory / REPORT_NAME, manifest)
    (directory / PAGE_NAME).write_text(page, encoding="utf-8")


def tell_crossed(crossed: list[dict[str, Any]]) -> None:
    """Tell on stderr which limits are crossed, where any are."""
    if crossed:
        click.echo(f"warning: crossed limits of [prepare.limits]: {spell_crossed(crossed)}", err=True)


def end_check(config: PrepareConfig, manifest: dict[str, Any], checked: Checked) -> dict[str, Any]:
    """Return the result of --check; DataError for what cannot be prepared, GateError when a limit is crossed."""
    check_rejected(config, checked.summary)
    check_splits(config, checked.summary)
    crossed = manifest["checks"]["crossed"]
    if crossed:
        page = Path(config.output) / PAGE_NAME
        raise GateError(f"The reviews cross limits of [prepare.limits]: {spell_crossed(crossed)}. See {page}.")
    return {"output": config.output, "counts": checked.summary.counts, "crossed": crossed}
