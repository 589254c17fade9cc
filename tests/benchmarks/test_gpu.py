"""The measurements on a GPU: they take turns, fail alone, and can be rehearsed on the CPU with tiny models."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from pyarrow import parquet
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertModel

from benchmarks.gpu import inputs, scoring, training, unpadded
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.answers import compare_answers
from benchmarks.gpu.jobs import build_flags, run_job
from benchmarks.gpu.parts import PARTS, Part, run_part
from benchmarks.gpu.results import Results, read_lines, results_path
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.table import build_table, build_tables
from benchmarks.gpu.turns import Work, measure_in_turns, run_in_turns
from sentiment_ray.errors import ConfigError
from sentiment_ray.text.batching import length_sorted_batches

FAILING_PARTS = {"sleep": "took longer than 2 s", "fail": "ValueError: a | b of two lines", "die": "exit code 9"}


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """A rehearsal without samples and without a network."""
    (tmp_path / "results").mkdir()
    return Setting(
        device="cpu",
        quick=True,
        workdir=str(tmp_path),
        samples=str(tmp_path / "no samples"),
        model=None,
        bundle=None,
        checkpoint=None,
        imdb=None,
        imdb_model=None,
        imdb_epochs=1,
        rounds=2,
        run_s=0.1,
    )


@pytest.fixture
def results(setting: Setting) -> Results:
    return Results(setting.root, "part")


def _read(results: Results) -> dict[str, dict[str, Any]]:
    return {line["what"]: line for line in read_lines(results.root, results.part)}


@pytest.mark.parametrize("name", FAILING_PARTS)
def test_a_part_that_does_not_end_well_keeps_its_results_and_says_why(name: str, setting: Setting) -> None:
    part = Part("part", f"tests.benchmarks.failing_parts:{name}", "A part", 1, {"figure": "figure"})
    shown: list[str] = []
    run_part(part, setting, limit_s=2 if name == "sleep" else 60, show=shown.append)
    lines = read_lines(setting.root, "part")
    assert [line["what"] for line in lines] == ["first", "the rest"]
    assert FAILING_PARTS[name] in lines[1]["error"]
    assert shown == results_path(setting.root, "part").read_text().splitlines()


def test_every_part_names_a_function_that_exists() -> None:
    for part in PARTS:
        module, _, function = part.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_contenders_take_turns_and_fill_their_time() -> None:
    calls: list[tuple[str, int]] = []

    def contender(name: str, rows_per_s: float) -> Any:
        def run(num_rows: int) -> Work:
            calls.append((name, num_rows))
            return Work(10 * num_rows, num_rows / rows_per_s)

        return run

    contenders = {"fast": contender("fast", 100), "slow": contender("slow", 20), "huge": contender("huge", 1e9)}
    *_, measured = run_in_turns(contenders, rounds=2, run_s=3, first_rows=10, max_rows=500)
    assert calls[6:] == [("fast", 300), ("slow", 60), ("huge", 500)] * 2
    assert measured["slow"].rates == {0: 200, 1: 200}


def test_a_contender_that_fails_is_left_out_of_later_rounds(setting: Setting, results: Results) -> None:
    seconds = iter([1, 1, 1, 2, 4])

    def fail_late(num_rows: int) -> Work:
        return Work(num_rows, next(seconds))

    contenders = {"ours": lambda num_rows: Work(num_rows, 0.5), "theirs": lambda num_rows: Work(num_rows, 1)}
    limits = {"ours": "ours", "first_rows": 100, "max_rows": 100}
    four = Setting(**vars(setting) | {"rounds": 4})
    contenders |= {"late": fail_late}
    measure_in_turns(four, results, contenders, "rows_per_s", doubled=lambda rate: 2 * rate, **limits)
    lines = _read(results)
    assert lines["theirs"]["ours_faster"] == {"median": 2, "p10": 2, "p90": 2, "rounds": 4}
    assert lines["theirs"]["doubled"] == 200
    assert "ours_faster" not in lines["ours"]
    assert lines["late"]["error"].startswith("StopIteration")


def test_without_our_own_figure_there_is_no_ratio(setting: Setting, results: Results) -> None:
    def fail(num_rows: int) -> Work:
        raise MemoryError("no room")

    contenders = {"ours": fail, "theirs": lambda num_rows: Work(num_rows, 1)}
    measure_in_turns(setting, results, contenders, "rows_per_s", ours="ours", first_rows=5, max_rows=5)
    lines = _read(results)
    assert lines["ours"]["error"] == "MemoryError: no room"
    assert lines["theirs"]["ours_faster"] == {"rounds": 0}


def test_a_measurement_that_is_stopped_keeps_the_rounds_before(setting: Setting, results: Results) -> None:
    calls = iter(range(4))

    def stop_in_the_second_round(num_rows: int) -> Work:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return Work(num_rows, 1)

    contenders = {"ours": stop_in_the_second_round}
    with pytest.raises(KeyboardInterrupt):
        measure_in_turns(setting, results, contenders, "rows_per_s", ours="ours", first_rows=5, max_rows=5)
    assert _read(results)["ours"]["rows_per_s"]["rounds"] == 1


def test_a_table_has_a_row_for_every_result_and_no_empty_column(results: Results) -> None:
    columns = {"rate": "rows/s", "of_peak": "of the peak", "p50_ms": "p50, ms", "promised": "promised"}
    part = Part("part", "no:function", "A part", 1, columns)
    results.add("ours", rate={"median": 21268.4, "p10": 20000, "p90": 22000.0, "rounds": 3}, of_peak=0.4056)
    results.add("theirs", rate={"rounds": 0}, promised=False)
    with results.catching("broken"):
        raise ValueError("a | b")
    assert build_table(part, read_lines(results.root, "part")).splitlines() == [
        "| what | rows/s | of the peak | promised |",
        "|---|---|---|---|",
        "| ours | 21,268 (20,000–22,000) | 40.6 % |  |",
        "| theirs | none |  | no |",
        "| broken | failed: ValueError: a \\| b |  |  |",
    ]


def test_keys_become_flags() -> None:
    keys = {"use_gpu": True, "near_duplicates": False, "tokens_per_batch": 32768}
    assert build_flags(keys) == ["--use-gpu", "--no-near-duplicates", "--tokens-per-batch", "32768"]


def test_a_job_that_fails_says_why_and_leaves_a_log(results: Results) -> None:
    with pytest.raises(RuntimeError, match="exit code 2: .*--no-such-key.* .log: .*part-score_reviews.txt"):
        run_job(results, "score_reviews", {"no_such_key": "nowhere"})
    assert "--no-such-key" in (results.root / "logs/part-score_reviews.txt").read_text()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--device", "cpu"], "Add --quick"),
        (["--bundle", "."], "--bundle and --checkpoint belong together"),
        (["--imdb-model", "."], "--imdb-model needs --imdb"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(flags: list[str], reason: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, [*flags, "--workdir", str(tmp_path / "work")])
    assert isinstance(answer.exception, ConfigError) and reason in str(answer.exception)
    assert not (tmp_path / "work").exists()


def test_parts_without_time_are_left_out(tmp_path: Path) -> None:
    flags = ["--device", "cpu", "--quick", "--workdir", str(tmp_path), "--total-s", "1", "--only", "imdb"]
    answer = CliRunner().invoke(main, flags, catch_exceptions=False)
    assert "| all | failed: left out: no time was left |" in answer.stdout


def test_the_operations_of_a_token_are_those_that_torch_counts(setting: Setting) -> None:
    shape = inputs.get_shape(setting, "bert")
    model = BertModel.from_pretrained(inputs.write_encoder(setting, "bert"), attn_implementation="eager").eval()
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.ones(3, 50, dtype=torch.long))
    pooler = 2 * 3 * shape.width**2
    assert counter.get_total_flops() - pooler == 3 * 50 * shape.count_flop_per_token(np.full(3, 50))


def test_unpadded_batches_give_the_outputs_of_padded_ones(setting: Setting) -> None:
    encoder = inputs.write_encoder(setting, "bert")
    batch = inputs.load_rows(setting, encoder).tokens[:12]
    model = BertModel.from_pretrained(encoder).eval()
    padded, packed = (compute(model, batch, "cpu") for compute in (unpadded.compute_padded, unpadded.compute_unpadded))
    assert len(set(map(len, batch))) > 5
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("split", [length_sorted_batches, unpadded.split_by_tokens])
def test_every_row_is_in_one_batch_under_the_budget(split: Any) -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 200)
    batches = list(split(lengths, tokens_per_batch=256))
    assert sorted(np.concatenate(batches)) == list(range(200))
    paddings = [
        len(rows) * lengths[rows].max() if split is length_sorted_batches else lengths[rows].sum() for rows in batches
    ]
    assert max(paddings) <= 256
    assert len(batches) <= 1.3 * lengths.sum() / 256


def test_made_texts_are_as_long_as_film_reviews_and_always_the_same(setting: Setting) -> None:
    texts, label_ids = inputs.load_film_reviews(setting)
    words = [len(text.split()) for text in texts]
    assert 120 < np.median(words) < 230 and max(words) > 350
    assert set(label_ids) == {0, 1}
    assert inputs.load_film_reviews(setting) == (texts, label_ids)


def test_the_mix_has_texts_of_every_source_in_equal_parts(setting: Setting) -> None:
    texts = inputs.load_mix(setting, 60)
    assert len(set(texts)) == 60
    assert [sum(f" {name} " in text for text in texts) for name in inputs.SOURCES[1:]] == [20, 20]
    assert sum(len(text.split()) > 50 for text in texts) >= 15


def test_film_reviews_come_from_the_samples_then_from_imdb(setting: Setting, tmp_path: Path) -> None:
    given = Setting(**vars(setting) | {"imdb": str(tmp_path / "imdb"), "samples": str(tmp_path / "samples")})
    for path, text in ((tmp_path / "imdb/train/part.parquet", "a"), (tmp_path / "samples" / inputs.SOURCES[0], "b")):
        path.parent.mkdir(parents=True)
        parquet.write_table(pa.table({"text": [text], "label": ["positive"]}), path)
        assert inputs.load_film_reviews(given) == ([text], [1])


def test_training_can_be_rehearsed(setting: Setting, results: Results) -> None:
    training.measure_minilm(setting, results)
    ours, tuned, documented = _read(results).values()
    assert ours["what"] == training.name_ours(512)
    for line in (ours, tuned, documented):
        assert line["tokens_per_s"]["rounds"] == 2 and line["tokens_per_s"]["median"] > 0
    assert tuned["ours_faster"]["rounds"] == documented["ours_faster"]["rounds"] == 2


def test_unpadded_steps_can_be_rehearsed(setting: Setting, results: Results) -> None:
    unpadded.measure_unpadded(setting, results)
    lines = _read(results)
    assert [line["what"] for line in lines.values() if "error" in line] == []
    assert lines["bert, padded, 512 tokens a step"]["ours_faster"]["rounds"] == 2


def test_scoring_and_answers_can_be_rehearsed(setting: Setting, results: Results, bundle: Path, run: Path) -> None:
    best = inputs.read_json(run / "run.json")["best"]["checkpoint"]
    given = Setting(**vars(setting) | {"bundle": str(bundle), "checkpoint": str(run / best)})
    scoring.measure_scoring(given, results)
    compare_answers(given, results)
    lines = _read(results)
    assert [line["what"] for line in lines.values() if "error" in line] == []
    assert lines["Predictor, fp16, one short text"]["p50_ms"] > 0
    assert lines["torch loop, fp32, 131,072 tokens a batch"]["ours_faster"]["rounds"] == 2
    assert lines["onnxruntime, fp32"]["same_labels"] == "60 of 60"
    assert lines["onnxruntime, fp32"]["same_bits"] == 1


def test_peers_are_measured_where_no_predictor_can_be_loaded(
    setting: Setting, results: Results, bundle: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = inputs.read_json(run / "run.json")["best"]["checkpoint"]
    keys = {"bundle": str(bundle), "checkpoint": str(run / best)}
    monkeypatch.setattr(Setting, "engine", "tensorrt")
    scoring.measure_scoring(Setting(**vars(setting) | keys), results)
    lines = _read(results)
    assert "tensorrt" in lines["Predictor, fp16"]["error"] and "tensorrt" in lines["Predictor, fp32"]["error"]
    assert lines["pipeline, as documented, batches of 32"]["rows_per_s"]["rounds"] == 2
    assert lines["torch loop, fp32, 32,768 tokens a batch"]["ours_faster"] == {"rounds": 0}


def test_without_a_bundle_the_part_that_makes_one_is_named(setting: Setting, results: Results) -> None:
    with pytest.raises(ConfigError, match="Run the part `jobs` first"):
        scoring.measure_scoring(setting, results)


@pytest.mark.slow
def test_the_whole_command_can_be_rehearsed(tmp_path: Path) -> None:
    flags = ["--device", "cpu", "--quick", "--rounds", "1", "--workdir", str(tmp_path)]
    answer = CliRunner().invoke(main, [*flags, "--samples", str(tmp_path / "none")], catch_exceptions=False)
    assert answer.stdout.strip() == build_tables(tmp_path)
    lines = [line for part in PARTS for line in read_lines(tmp_path, part.name)]
    assert {line["part"] for line in lines} == {part.name for part in PARTS}
    assert [line for line in lines if "error" in line and not line["what"].startswith("GPU, driver")] == []
