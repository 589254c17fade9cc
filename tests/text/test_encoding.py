"""Texts become the token ids that the training library makes of them, and hostile tokenizers are refused."""

import json
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from sentiment_ray.errors import BundleError
from sentiment_ray.text.encoding import TextEncoder, encode, load_encoder, parse_encoder
from tests.conftest import NASTY_TEXTS


@pytest.fixture
def encoder(tiny_encoder: Path) -> TextEncoder:
    return load_encoder(tiny_encoder / "tokenizer.json", max_tokens=16)


def test_token_ids_equal_those_of_transformers(encoder: TextEncoder, tiny_encoder: Path) -> None:
    from transformers import AutoTokenizer

    texts = ["My sister lives in a small flat.", "x", *NASTY_TEXTS]
    expected = AutoTokenizer.from_pretrained(tiny_encoder)(texts, truncation=True, max_length=16)["input_ids"]
    assert [ids.tolist() for ids in encode(encoder, texts).ids] == expected


def test_a_longer_text_is_truncated_to_max_tokens_and_marked(encoder: TextEncoder) -> None:
    encoded = encode(encoder, ["tea", "tea " * 100])
    assert encoded.truncated.tolist() == [False, True]
    assert encoded.lengths[1] == 16
    assert encoded.ids[1][-1] == encoded.ids[0][-1], "the closing token stays"


def test_a_text_of_exactly_max_tokens_is_not_truncated(encoder: TextEncoder) -> None:
    words = next(
        " ".join(["a"] * count) for count in range(30) if encode(encoder, [" ".join(["a"] * count)]).lengths == 16
    )
    assert encode(encoder, [words, words + " a"]).truncated.tolist() == [False, True]


def test_a_word_of_a_million_characters_is_truncated(encoder: TextEncoder) -> None:
    encoded = encode(encoder, ["x" * 1_000_000])
    assert encoded.truncated.tolist() == [True]
    assert encoded.lengths[0] <= 16


def test_lone_surrogates_are_read_as_question_marks(encoder: TextEncoder) -> None:
    broken, plain = encode(encoder, ["bad \ud800 text", "bad ? text"]).ids
    assert broken.tolist() == plain.tolist()


def test_a_text_without_tokens_becomes_one_unknown_token(encoder: TextEncoder) -> None:
    encoder.tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    encoded = encode(encoder, ["\x00", "good"])
    assert encoded.ids[0].tolist() == [encoder.unknown_id]
    assert encoded.lengths[0] == 1


def _replace_parts(path: Path, **parts: object) -> bytes:
    """Return the tokenizer file at `path` with some parts replaced."""
    return json.dumps(json.loads(path.read_text()) | parts).encode()


def test_a_tokenizer_that_fails_at_the_first_text_is_refused_when_it_is_loaded(tiny_encoder: Path) -> None:
    path = tiny_encoder / "tokenizer.json"
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[GONE]", "type_id": 0}}]}
    template_without_token = _replace_parts(path, post_processor=template | {"pair": [], "special_tokens": {}})
    without_unknown = _replace_parts(path, model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "gone"})
    for data in (template_without_token, without_unknown):
        with pytest.raises(BundleError, match="tokenizer.json cannot be read as a tokenizer"):
            parse_encoder(data, max_tokens=16, source="tokenizer.json")


def test_padding_in_a_tokenizer_file_is_ignored(tiny_encoder: Path) -> None:
    padding = {"strategy": {"Fixed": 1 << 40}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    data = _replace_parts(tiny_encoder / "tokenizer.json", padding=padding)
    assert encode(parse_encoder(data, max_tokens=16, source="x"), ["tea"]).lengths[0] <= 16


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), (b"{}", "cannot be read as a tokenizer"), (b"\xff", "cannot be read as a tokenizer")],
)
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=message) as error:
        load_encoder(path, max_tokens=16)
    assert str(path) in str(error.value)
