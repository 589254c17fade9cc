"""Sums over the receipts of units, which take as much memory for a million units as for one; reads no files."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sentiment_ray.inference.drift import add_profiles
from sentiment_ray.score.receipts import Receipt


@dataclass(frozen=True)
class WorkerTotals:
    """What one worker has done."""

    rows: int = 0
    seconds: float = 0.0
    units: int = 0


@dataclass(frozen=True)
class Totals:
    """Sums over receipts; the fields are those of `Receipt` where they have its names."""

    units: int = 0
    parts: int = 0
    """Units that have a part; one that was quarantined as a whole has none."""
    bytes: int = 0
    """Size of all files of the units."""
    rows: int = 0
    rows_quarantined: int = 0
    duplicates: int = 0
    crashes: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=lambda: add_profiles([]))
    workers: Mapping[str, WorkerTotals] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()


def count_receipt(receipt: Receipt) -> Totals:
    """Return the sums over one receipt."""
    return Totals(
        units=1,
        parts=int(receipt.part in receipt.files),
        bytes=sum(file.bytes for file in receipt.files.values()),
        rows=receipt.rows,
        rows_quarantined=receipt.rows_quarantined,
        duplicates=receipt.duplicates,
        crashes=receipt.crashes,
        reasons=receipt.reasons,
        profile=receipt.profile,
        workers={receipt.worker: WorkerTotals(receipt.rows, receipt.seconds, 1)},
        gpus=(receipt.gpu,) if receipt.gpu else (),
    )


def add_totals(every: Iterable[Totals]) -> Totals:
    """Return the sums of sums."""
    counts, reasons, gpus = Counter[str](), Counter[str](), set[str]()
    workers: dict[str, WorkerTotals] = {}
    profile = add_profiles([])
    for totals in every:
        for name in ("units", "parts", "bytes", "rows", "rows_quarantined", "duplicates", "crashes"):
            counts[name] += getattr(totals, name)
        reasons.update(totals.reasons)
        gpus.update(totals.gpus)
        for worker, own in totals.workers.items():
            before = workers.get(worker, WorkerTotals())
            workers[worker] = WorkerTotals(
                before.rows + own.rows, before.seconds + own.seconds, before.units + own.units
            )
        profile = add_profiles([profile, totals.profile])
    return Totals(
        **counts, reasons=dict(sorted(reasons.items())), profile=profile, workers=workers, gpus=tuple(sorted(gpus))
    )


def describe_totals(totals: Totals) -> dict[str, Any]:
    """Return sums as JSON."""
    return asdict(totals)


def parse_totals(values: dict[str, Any]) -> Totals:
    """Return the sums that a JSON object describes; KeyError or TypeError when it is none."""
    workers = {name: WorkerTotals(**own) for name, own in values["workers"].items()}
    return Totals(**values | {"workers": workers, "gpus": tuple(values["gpus"])})
