"""A container with a quota of two cores on a machine with many starts two threads."""

import os
from pathlib import Path
from typing import Any

import pytest

from export.held_out import limit_torch_threads
from sentiment_ray import cpu_quota
from sentiment_ray.cpu_quota import count_usable_cpus, read_cpu_quota
from sentiment_ray.engine_specs import ENGINES, EngineSpec
from sentiment_ray.inference.doctor import examine
from sentiment_ray.inference.engines import load_engine

POD = "kubepods.slice/pod1.slice/box1.scope"
V1 = f"12:memory:/{POD}\n4:cpu,cpuacct:/{POD}\n1:name=systemd:/{POD}\n"


def _write_files(directory: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _v1(quota_us: int, group: str = "", mount: str = "cpu,cpuacct", period_us: int = 100_000) -> dict[str, str]:
    directory = "/".join(filter(None, (mount, group)))
    return {f"{directory}/cpu.cfs_quota_us": f"{quota_us}\n", f"{directory}/cpu.cfs_period_us": f"{period_us}\n"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 64 cores; a test writes its control groups."""
    monkeypatch.setattr(cpu_quota, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cpu_quota, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    return tmp_path


@pytest.mark.parametrize(
    ("own", "files", "quota", "threads"),
    [
        pytest.param("0::/\n", {"cpu.max": "200000 100000\n"}, 2, 2, id="version 2, in a namespace of its own"),
        pytest.param(f"0::/{POD}\n", {f"{POD}/cpu.max": "150000 100000\n"}, 1.5, 2, id="a part of a core counts"),
        pytest.param("0::/\n", {"cpu.max": "1000 100000\n"}, 0.01, 1, id="never fewer than one thread"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, None, 64, id="version 2 without a limit"),
        pytest.param(
            f"0::/{POD}\n",
            {f"{POD}/cpu.max": "max 100000\n", "kubepods.slice/pod1.slice/cpu.max": "300000 100000\n"},
            3,
            3,
            id="the limit of a parent",
        ),
        pytest.param(
            f"0::/{POD}\n",
            {f"{POD}/cpu.max": "800000 100000\n", "kubepods.slice/cpu.max": "400000 100000\n"},
            4,
            4,
            id="the smallest limit",
        ),
        pytest.param("0::/a\n", {"unified/a/cpu.max": "200000 100000\n"}, 2, 2, id="version 2 beside version 1"),
        pytest.param("0::/../other\n", {"cpu.max": "200000 100000\n"}, 2, 2, id="a group outside of the mount"),
        pytest.param(V1, _v1(250_000, POD), 2.5, 3, id="version 1"),
        pytest.param(V1, _v1(200_000), 2, 2, id="version 1, the path of the host in a container"),
        pytest.param(V1, _v1(50_000, period_us=25_000), 2, 2, id="another period"),
        pytest.param(V1, _v1(-1) | _v1(-1, POD), None, 64, id="version 1 without a limit"),
        pytest.param(f"4:cpu:/{POD}\n", _v1(100_000, mount="cpu"), 1, 1, id="version 1, the controller alone"),
        pytest.param(V1, _v1(100_000, mount="memory"), None, 64, id="the limit of another controller"),
        pytest.param("0::/\n", {"cpu.max": "9900000 100000\n"}, 99, 64, id="more than there are cores"),
        pytest.param("0::/\n", {"cpu.max": ""}, None, 64, id="an empty file"),
        pytest.param("0::/\n", {"cpu.max": "200000 0\n"}, None, 64, id="a period of 0"),
        pytest.param("nonsense\n\n", {"cpu.max": "200000 100000\n"}, 2, 2, id="lines of another form"),
    ],
)
def test_the_smallest_quota_counts(
    machine: Path, own: str, files: dict[str, str], quota: float | None, threads: int
) -> None:
    (machine / "own").write_text(own)
    _write_files(machine / "cgroup", files)
    assert read_cpu_quota() == quota
    assert count_usable_cpus() == threads


def test_without_control_groups_every_core_counts(machine: Path) -> None:
    assert read_cpu_quota() is None
    assert count_usable_cpus() == 64


def test_engines_and_doctor_respect_the_quota(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def create_engine(name: str, model: bytes, threads: int, num_streams: int) -> Any:
        started.append(threads)

    spec = EngineSpec("counted", "tests.inference.zeros_engine", "numpy", ("numpy",), "")
    monkeypatch.setitem(ENGINES, "counted", spec)
    monkeypatch.setattr("tests.inference.zeros_engine.create_engine", create_engine)
    _write_files(machine, {"own": "0::/\n", "cgroup/cpu.max": "150000 100000\n"})
    load_engine("counted", b"", threads=None, source="model.onnx")
    load_engine("counted", b"", threads=5, source="model.onnx")
    assert started == [2, 5]
    found = examine()
    assert (found["cores"], found["cpu_quota"], found["threads"]) == (64, 1.5, 2)


def test_torch_starts_no_more_threads_than_the_quota(machine: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        limit_torch_threads()
        assert torch.get_num_threads() == 8
        _write_files(machine, {"own": "0::/\n", "cgroup/cpu.max": "300000 100000\n"})
        limit_torch_threads()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
