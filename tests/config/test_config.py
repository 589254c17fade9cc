"""A mistake in a file or on the command line becomes one line that names it and says what to do."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field

from jobs.evaluate_bundle import main as evaluate_job
from sentiment_ray.config.sections import Names, SectionConfig, is_unset, load_config
from sentiment_ray.config.shell import _fail
from sentiment_ray.data.config import PrepareConfig
from sentiment_ray.errors import ConfigError
from sentiment_ray.evaluate.config import EvaluateConfig
from sentiment_ray.train.config import LORA_LEARNING_RATE, TrainConfig

ROOT = Path(__file__).parents[2]
GOOD = 'prepared = "p"\nmodel = "m"\noutput = "o"\n'


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "test.toml"
    path.write_text(text)
    return str(path)


def test_a_flag_overrides_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, f"[train]\n{GOOD}learning_rate = 1e-5\n")
    config = load_config(TrainConfig, "train", file=file, flags={"learning_rate": "3e-5"})
    assert config.learning_rate == 3e-5
    assert config.model == "m"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[train]\n{GOOD}lerning_rate = 1", "unknown key 'lerning_rate'. Did you mean 'learning_rate'?"),
        ("[train]\nmodel = 'm'\noutput = 'o'", "the key 'prepared' is missing"),
        (f"[train]\n{GOOD}epochs = 0", "epochs = 0: input should be greater than or equal to 1"),
        (f"[train]\n{GOOD}precision = 'int4'", "precision = 'int4'"),
        ("[trainn]\nmodel = 'm'", "unknown section [trainn]. Did you mean 'train'?"),
        ("[score]\n", "the section [train] is missing (found: score)"),
        ("[train", "not a readable TOML file"),
        ("train = 3", "train has a value, but it is a section"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = _file(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(TrainConfig, "train", file=file, flags={})
    assert message in str(error.value)
    assert file in str(error.value)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_file_may_begin_with_a_byte_order_mark_and_have_any_line_ends(tmp_path: Path, line_end: str) -> None:
    text = f"\ufeff[train]\n{GOOD}".replace("\n", line_end)
    (tmp_path / "a.toml").write_bytes(text.encode())
    assert load_config(TrainConfig, "train", file=str(tmp_path / "a.toml"), flags={}).model == "m"


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "this is UTF-16, as PowerShell"),
        ("utf-16-le", "this is UTF-16, as PowerShell"),
        ("cp1252", r"this is not UTF-8 \(byte 10\). Save the file as UTF-8"),
    ],
)
def test_a_file_in_another_encoding_is_named(tmp_path: Path, encoding: str, message: str) -> None:
    text = f"[train]\n# \u00fc\n{GOOD}"
    (tmp_path / "a.toml").write_bytes(text.encode(encoding))
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, "train", file=str(tmp_path / "a.toml"), flags={})


def test_a_misspelt_key_of_a_source_is_answered_with_the_nearest_key(tmp_path: Path) -> None:
    file = _file(tmp_path, '[prepare]\noutput = "o"\n[[prepare.sources]]\npath = "p"\ntext_colum = "body"')
    with pytest.raises(ConfigError, match=r"unknown key 'sources\.0\.text_colum'. Did you mean 'text_column'"):
        load_config(PrepareConfig, "prepare", file=file, flags={})


def test_one_source_can_be_given_as_flags() -> None:
    flags = {"input": "reviews/", "text_column": "body", "labels": "bad,good", "output": "o"}
    config = load_config(PrepareConfig, "prepare", file=None, flags=flags)
    assert [(source.path, source.text_column) for source in config.sources] == [("reviews/", ("body",))]
    assert config.labels == ("bad", "good")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("title,body", ("title", "body")),
        (" title , body ", ("title", "body")),
        ('"Review, in your words"', ("Review, in your words",)),
        ('title, "Review, in your words",5" screen', ("title", "Review, in your words", '5" screen')),
        ('"Say ""why"", please"', ('Say "why", please',)),
        ('5" screen,title', ('5" screen', "title")),
    ],
)
def test_a_name_with_a_comma_is_in_double_quotes(value: str, expected: tuple[str, ...]) -> None:
    flags = {"input": "a.csv", "output": "out", "text_column": value}
    config = load_config(PrepareConfig, "prepare", file=None, flags=flags)
    assert config.sources[0].text_column == expected


@pytest.mark.parametrize("value", ['"Review, in your words', '"Review" it,title'])
def test_double_quotes_that_enclose_no_whole_name_are_refused(value: str) -> None:
    flags = {"input": "a.csv", "output": "out", "text_column": value}
    with pytest.raises(ConfigError, match="the double quotes do not enclose whole names"):
        load_config(PrepareConfig, "prepare", file=None, flags=flags)


def test_blanks_inside_a_message_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _fail("found: 'te  xt',\n   'a\tb'\x1b", 2)
    assert capsys.readouterr().err == "error: found: 'te  xt', 'a b'\ufffd\n"


def test_shares_are_a_toml_array_or_one_flag_with_commas(tmp_path: Path) -> None:
    file = _file(tmp_path, '[evaluate]\nbundle = "b"\ninput = "i"\noutput = "o"\nprecisions = [0.5, 1]\n')
    assert load_config(EvaluateConfig, "evaluate", file=file, flags={}).precisions == (0.5, 1)
    assert load_config(EvaluateConfig, "evaluate", file=file, flags={"precisions": "0.9,0.95"}).precisions == (
        0.9,
        0.95,
    )
    with pytest.raises(ConfigError, match="precisions = '0.9,2': each must be above 0 and at most 1"):
        load_config(EvaluateConfig, "evaluate", file=file, flags={"precisions": "0.9,2"})


def test_a_switch_without_a_default_has_a_flag_for_yes_and_one_for_no() -> None:
    option = next(parameter for parameter in evaluate_job.params if parameter.name == "ordered")
    assert (option.opts, option.secondary_opts) == (["--ordered"], ["--no-ordered"])
    assert evaluate_job.make_context("evaluate", []).params["ordered"] is None


@pytest.mark.parametrize("labels", ["only", "twice,twice"])
def test_unusable_labels_are_refused(labels: str) -> None:
    with pytest.raises(ConfigError, match="give two or more different names"):
        load_config(PrepareConfig, "prepare", file=None, flags={"input": "i", "output": "o", "labels": labels})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jobs.train_encoder", "--config", "/nowhere.toml"], "/nowhere.toml: there is no such file"),
        (["jobs.train_encoder", "--lerning-rate", "1"], "No such option '--lerning-rate'"),
        (["jobs.train_encoder"], "the key 'output' is missing"),
        (["jobs.prepare_reviews", "--input", "/nowhere", "--output", "/tmp/never"], "/nowhere"),
        (["jobs.export_bundle", "--run", "/nowhere", "--output", "/tmp/never"], "/nowhere/run.json is missing"),
        (
            ["jobs.score_reviews", "--bundle", "/nowhere", "--input", "x", "--output", "/tmp/never"],
            "no bundle at /nowhere",
        ),
        (["jobs.pipeline", "--config", "/nowhere.toml"], "/nowhere.toml: there is no such file"),
        (["sentiment_ray.cli_main", "predict", "/nowhere", "text"], "no bundle at /nowhere"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_wrong_command_prints_one_line_and_exits_with_2(arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", *arguments]
    if arguments[0] == "sentiment_ray.cli_main":
        command = [str(Path(sys.executable).parent / "sentiment-ray"), *arguments[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stdout == ""
    assert not Path("/tmp/never").exists()


def test_output_of_a_library_at_exit_is_not_part_of_the_result() -> None:
    code = (
        "import atexit, click; from sentiment_ray.config.shell import print_result, run\n"
        "atexit.register(print, 'bye')\n"
        "run(click.Command('x', callback=lambda: print_result({'rows': 1})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ('{"rows": 1}\n', "bye\n", 0)


def test_a_key_that_is_left_out_while_unset_leaves_dumps_as_they_were() -> None:
    class Later(SectionConfig):
        seed: int = 0
        columns: Names = Field(default=(), exclude_if=is_unset)

    assert Later().model_dump(mode="json") == {"seed": 0}
    assert Later(columns=("a",)).model_dump(mode="json") == {"seed": 0, "columns": ["a"]}
    assert [is_unset(value) for value in (None, False, (), "", {}, 0, 0.0, ",")] == [True] * 5 + [False] * 3


@pytest.mark.parametrize(
    ("value", "names"),
    [("a,b", ("a", "b")), (" a , b ", ("a", "b")), ('"a, b",c', ("a, b", "c")), ("", ()), (" ", ()), ("a", ("a",))],
)
def test_names_are_split_at_commas(value: str, names: tuple[str, ...]) -> None:
    class Section(SectionConfig):
        columns: Names = ()

    assert Section(columns=value).columns == names
    for empty in ("a,", ",a", "a,,b", ","):
        with pytest.raises(ValueError, match="a name between the commas is empty"):
            Section(columns=empty)


@pytest.mark.parametrize(
    ("flags", "rate"),
    [
        ({}, 5e-5),
        ({"lora_rank": "8"}, LORA_LEARNING_RATE),
        ({"lora_rank": "8", "learning_rate": "5e-5"}, 5e-5),
        ({"lora_rank": "2", "learning_rate": "3e-4"}, 3e-4),
    ],
)
def test_low_rank_additions_have_a_learning_rate_of_their_own(
    tmp_path: Path, flags: dict[str, str], rate: float
) -> None:
    config = load_config(TrainConfig, "train", file=_file(tmp_path, f"[train]\n{GOOD}"), flags=flags)
    assert config.learning_rate == config.model_dump()["learning_rate"] == rate
    assert TrainConfig(**config.model_dump()) == config
    assert config.model_copy(update={"model": "other"}).learning_rate == rate
