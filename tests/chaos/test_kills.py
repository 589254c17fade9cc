"""After any kills every row is written once, and every file has the bytes of an undisturbed run."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from sentiment_ray.score.verify import verify_scores
from sentiment_ray.storage import open_store
from tests.chaos.conftest import ROWS, UNITS, Chaos, Cluster, contents


@pytest.fixture(scope="session")
def settings(bundle: Path, chaos_corpus: Path) -> dict[str, Any]:
    return {
        "bundle": str(bundle),
        "text_column": "body",
        "unit_rows": ROWS // UNITS,
        "group_by": "id",
        "max_quarantined": 0.5,
        "engine": "onnxruntime",
        "variant": "fp32",
    }


@pytest.fixture(scope="package")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, two_nodes: Cluster, settings: dict[str, Any], chaos_corpus: Path
) -> dict[str, bytes]:
    """The files of an undisturbed run."""
    work = tmp_path_factory.mktemp("undisturbed")
    config = settings | {"input": str(chaos_corpus), "output": str(work / "scores")}
    result = Chaos(two_nodes, config, work, random.Random(0)).run_until_done(max_kills=0)
    assert result["rows_in"] == ROWS
    return contents(config["output"])


@pytest.mark.parametrize(
    ("store", "kills"),
    [("local", 3), ("s3", 2), *(pytest.param(store, 100, marks=pytest.mark.slow) for store in ("local", "s3"))],
)
def test_killed_runs_end_with_the_bytes_of_an_undisturbed_one(
    store: str,
    kills: int,
    two_nodes: Cluster,
    settings: dict[str, Any],
    chaos_corpus: Path,
    undisturbed: dict[str, bytes],
    workplace: Path,
    s3: str,
) -> None:
    generator = random.Random(kills)
    done: list[str] = []
    source = str(chaos_corpus)
    if store == "s3":
        source = f"{s3}/corpus-{kills}"
        open_store(source).fs.put(f"{chaos_corpus}/", source + "/", recursive=True)
    expected = undisturbed
    if store == "s3":  # a part names its plan, and the plan its input
        config = settings | {"input": source, "output": f"{s3}/undisturbed-{kills}"}
        Chaos(two_nodes, config, workplace, random.Random(0)).run_until_done(max_kills=0)
        expected = contents(config["output"])
    for episode in itertools.count():
        if len(done) >= kills:
            break
        output = f"{workplace}/scores-{episode}" if store == "local" else f"{s3}/scores-{kills}-{episode}"
        chaos = Chaos(two_nodes, settings | {"input": source, "output": output}, workplace, generator)
        result = chaos.run_until_done(max_kills=min(8, kills - len(done)))
        done += chaos.kills
        found = contents(output)
        parts = {name for name in expected if not name.startswith("_quarantine")}
        assert found.keys() == expected.keys(), chaos.kills
        assert {name: found[name] for name in parts} == {name: expected[name] for name in parts}, chaos.kills
        assert result["rows_in"] == ROWS == result["rows_scored"] + result["rows_quarantined"]
        verify_scores(output)
