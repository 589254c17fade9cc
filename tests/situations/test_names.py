"""Names that mean something to a shell, a URL or a glob are plain names, of inputs and of outputs, in every job."""

import shutil
from pathlib import Path

import pytest

from tests.situations.run_job import CLI, Outcome, run_job

NAME = "we [v2] *?#1%20 a::b 'q' é 名 {x,y} ~$HOME"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, which has such a name, with reviews in it."""
    directory = tmp_path / NAME
    directory.mkdir()
    monkeypatch.chdir(directory)
    rows = (f"review {number} of things,{('negative', 'neutral', 'positive')[number % 3]}\n" for number in range(90))
    (directory / f"{NAME}.csv").write_text("text,label\n" + "".join(rows))
    return directory


def assert_done(outcome: Outcome) -> Outcome:
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


@pytest.mark.usefixtures("ray_cluster")
def test_reviews_are_prepared_evaluated_and_scored_below_any_name(home: Path, bundle: Path) -> None:
    shutil.copytree(bundle, home / "bundle::[1]")
    prepared = assert_done(run_job("prepare_reviews", "--input", f"./{NAME}.csv", "--output", "-prepared/", "--check"))
    prepared = assert_done(run_job("prepare_reviews", "--input", f"file://{home}/{NAME}.csv", "--output", "p[1]/#/?"))
    assert prepared.result["counts"]["rows_in"] == 90
    assert prepared.result["output"] == str(home / "p[1]/#/?")
    files = ("--bundle", "bundle::[1]/", "--input", "p[1]/#/?/train")
    assert_done(run_job("evaluate_bundle", *files, "--output", f"../{NAME}/e%20*"))
    scored = [assert_done(run_job("score_reviews", *files, "--output", "s#[2]?")) for _ in range(2)]
    assert [outcome.result["skipped"] for outcome in scored] == [False, True]
    assert scored[0].result["rows_scored"] == prepared.result["counts"]["train"]
    for arguments in (
        ("verify", "bundle::[1]"),
        ("verify", "s#[2]?", "--sample", "5", "--bundle", "bundle::[1]"),
        ("inspect", "./bundle::[1]/"),
        ("predict", str(home / "bundle::[1]"), "a fine thing"),
    ):
        assert_done(run_job(CLI, *arguments))
    assert {path.name for path in home.iterdir()} == {
        f"{NAME}.csv", "bundle::[1]", "-prepared", "p[1]", "e%20*", "s#[2]?",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_model_is_trained_tuned_and_exported_below_any_name(home: Path, prepared: Path, tiny_encoder: Path) -> None:
    shutil.copytree(prepared, home / "p[1]#?")
    shutil.copytree(tiny_encoder, home / "m[1]#?::x")
    keys = 'prepared = "p[1]#?"\nmodel = "./m[1]#?::x"\nmax_tokens = 32\nepochs = 1\ncpus_per_worker = 1'
    search = '[tune]\noutput = "t[1]#?%20"\ntrials = 2\n[tune.search]\nlearning_rate = { low = 1e-4, high = 1e-3 }'
    (home / "k[1].toml").write_text(f'[train]\n{keys}\noutput = "r[1]#?%20"\n{search}\n', encoding="utf-8")
    for _ in range(2):
        assert_done(run_job("train_encoder", "--config", "k[1].toml"))
    assert_done(run_job("tune_encoder", "--config", "k[1].toml"))
    export = ("--variants", "fp32", "--triton", "q[1]#?", "--output", "b[1]#?%20", "--max-batch-flips", "5")
    for _ in range(2):
        assert_done(run_job("export_bundle", "--run", "r[1]#?%20", *export))
    assert_done(run_job(CLI, "predict", "b[1]#?%20", "a fine thing"))
    assert_done(run_job("train_encoder", "--config", "k[1].toml", "--restart", "--learning-rate", "1e-4"))
