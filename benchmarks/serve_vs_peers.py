"""Compares services that classify one text a request: the server has one core, the load generator another.

Run `prepare` first, then `measure`. README.md in this directory has the commands. wrk makes the closed loops
(https://github.com/wg/wrk), load_generator.py the open ones.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from harness import Bench, Result, bench_options, machine, spread
from load_generator import Load, run_load
from preparing import prepare_command
from serve_contenders import INT8_BUNDLE, OURS, SERVICES, Service, make_int8
from serve_running import ask, read_texts, run_wrk, started, take_core

from sentiment_ray.config.shell import print_result, run
from sentiment_ray.errors import ConfigError


@click.group()
def main() -> None:
    """Compare services over HTTP."""


main.add_command(prepare_command(SERVICES))  # type: ignore[arg-type]


@main.command()
@bench_options
@click.option("--seconds", default=10.0, show_default=True, help="Length of each load.")
@click.option("--connections", default="1,32", show_default=True, help="Connections of each closed loop.")
@click.option("--shares", default="0.8,2", show_default=True, help="Open loops: shares of the service's own most.")
@click.option("--min-agreement", default=0.9, show_default=True, help="Least share of labels equal to the fp32 file's.")
@click.option(
    "--int8-bundle", type=click.Path(exists=True, path_type=Path), help="Bundle with the variant int8. [none]"
)
@click.option("--only", multiple=True, type=click.Choice([service.name for service in SERVICES]), help="[all]")
def measure(
    bench: Bench, samples: Path, rounds: int, seconds: float, connections: str, shares: str, min_agreement: float,
    int8_bundle: Path | None, only: tuple[str, ...],
) -> None:  # fmt: skip
    """Ask all services in turns, in each round, and print one JSON line."""
    machine_info = machine()
    core = take_core()
    chosen = [service for service in SERVICES if not only or service.name in (*only, OURS.name)]
    if not int8_bundle:
        chosen = [service for service in chosen if f"{{{INT8_BUNDLE}}}" not in service.command]
    texts, labels = read_texts(bench, samples)
    (bench.workdir / "serving").mkdir(exist_ok=True)
    int8 = make_int8(bench.bundle / "onnx/model.onnx", bench.workdir / "serving/model_int8.onnx")
    names = {"bundle": bench.bundle, "checkpoint": bench.checkpoint, "fp32": bench.bundle / "onnx/model.onnx"}
    names |= {"int8": int8, INT8_BUNDLE: int8_bundle, "threads": 1}
    results: dict[str, list[Result]] = {service.name: [] for service in chosen}
    for number in range(rounds):
        for service in chosen if number % 2 == 0 else reversed(chosen):
            try:
                with started(bench, service, names, core) as (port, start_s):
                    agreement = _check(service, port, texts, labels, min_agreement)
                    figures = _load(service, port, texts, seconds, connections.split(","), shares.split(","))
                result = {"start_s": start_s, "label_agreement": agreement, **figures}
            except (ConfigError, OSError) as error:
                result = {"error": str(error)}
            click.echo(f"{number} {service.name}: {json.dumps(result)}", err=True)
            results[service.name].append(result)
    compared = {service.name: _summarise(service, results[service.name], results[OURS.name]) for service in chosen}
    print_result({"machine": machine_info, "seconds": seconds, "contenders": compared, "rounds": results})


def _check(service: Service, port: int, texts: Sequence[str], labels: Sequence[str], min_agreement: float) -> float:
    """Return the share of labels that are those of the fp32 file; ConfigError when it is too low."""
    answers = [service.read_label(ask(service, port, text)) for text in texts[: len(labels)]]
    agreement = sum(answer == label for answer, label in zip(answers, labels, strict=True)) / len(labels)
    if agreement < min_agreement:
        raise ConfigError(f"{service.name} agrees with the fp32 file on {agreement:.1%} of the labels")
    return round(agreement, 4)


def _load(
    service: Service, port: int, texts: Sequence[str], seconds: float, connections: Sequence[str], shares: Sequence[str]
) -> Result:
    """Return what each load gave: closed loops, then open ones at shares of the most answers of a closed one."""
    bodies = [service.encode(text) for text in texts]
    with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
        file.write(b"\n".join(bodies))
        file.flush()
        run_wrk(service, port, file.name, "8", 2.0)  # warms the service up
        figures: Result = {f"c={count}": run_wrk(service, port, file.name, count, seconds) for count in connections}
    most = max(figures[f"c={count}"]["answers_per_s"] for count in connections)
    for share in shares:
        load = Load(float(share) * most, seconds, bodies, service.path)
        figures[f"open {share}"] = asyncio.run(run_load(load, host="127.0.0.1", port=port))
    return figures


def _summarise(service: Service, rounds: Sequence[Result], ours: Sequence[Result]) -> Result:
    """Return the spread of a service's figures, and of the ratios to this project in the same round."""
    pairs = [
        (own, other) for own, other in zip(ours, rounds, strict=True) if "error" not in own and "error" not in other
    ]
    if not pairs:
        return {"what": service.what, "error": rounds[0].get("error", "this project failed")}
    summary: Result = {"what": service.what, "rounds": len(pairs)}
    for name in [key for key in pairs[0][1] if key.startswith(("c=", "open "))]:
        others = [other[name] for _, other in pairs]
        figures = {key: spread([each[key] for each in others if each[key] is not None])
                   for key in ("answers_per_s", "p50_ms", "p99_ms")}  # fmt: skip
        if name.startswith("c="):
            ratios = [own[name]["answers_per_s"] / other[name]["answers_per_s"] for own, other in pairs]
            figures["ours_faster"] = spread(ratios)
            figures["ours_p50_share"] = spread([own[name]["p50_ms"] / other[name]["p50_ms"] for own, other in pairs])
        else:
            figures["statuses"] = [each["statuses"] for each in others]
        summary[name] = figures
    return summary


if __name__ == "__main__":
    run(main)
