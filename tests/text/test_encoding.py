"""Behaviour of the one path from texts to token ids."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from sentiment_ray.errors import BundleError
from sentiment_ray.text.encoding import (
    TextEncoder,
    encode,
    equal_length_batches,
    length_sorted_batches,
    load_encoder,
    pad,
    parse_encoder,
    rounded_lengths,
)
from tests.conftest import NASTY_TEXTS


@pytest.fixture
def encoder(tiny_encoder: Path) -> TextEncoder:
    return load_encoder(tiny_encoder / "tokenizer.json", max_tokens=16)


def test_token_ids_are_those_of_the_training_library(encoder: TextEncoder, tiny_encoder: Path) -> None:
    from transformers import AutoTokenizer

    texts = ["My sister lives in a small flat.", "x", *NASTY_TEXTS]
    expected = AutoTokenizer.from_pretrained(tiny_encoder)(texts, truncation=True, max_length=16)["input_ids"]
    assert [ids.tolist() for ids in encode(encoder, texts).ids] == expected


def test_longer_text_is_truncated_to_max_tokens_and_says_so(encoder: TextEncoder) -> None:
    encoded = encode(encoder, ["tea", "tea " * 100])
    assert encoded.truncated.tolist() == [False, True]
    assert encoded.lengths[1] == 16
    assert encoded.ids[1][-1] == encoded.ids[0][-1], "the closing token stays"


def test_a_text_of_exactly_max_tokens_is_not_truncated(encoder: TextEncoder) -> None:
    words = next(
        " ".join(["a"] * count) for count in range(30) if encode(encoder, [" ".join(["a"] * count)]).lengths == 16
    )
    assert encode(encoder, [words, words + " a"]).truncated.tolist() == [False, True]


def test_a_million_characters_cost_no_more_than_the_cap(encoder: TextEncoder) -> None:
    encoded = encode(encoder, ["x" * 1_000_000])
    assert encoded.truncated.tolist() == [True]
    assert encoded.lengths[0] <= 16


def test_lone_surrogates_are_read_as_question_marks(encoder: TextEncoder) -> None:
    broken, plain = encode(encoder, ["bad \ud800 text", "bad ? text"]).ids
    assert broken.tolist() == plain.tolist()


def test_padding_reaches_the_longest_of_the_batch_only() -> None:
    input_ids, attention_mask = pad([np.array([5, 6]), np.array([7, 8, 9])], pad_id=1)
    assert input_ids.tolist() == [[5, 6, 1], [7, 8, 9]]
    assert attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_lengths_are_rounded_by_themselves_a_little_and_never_beyond_max_tokens() -> None:
    lengths = np.arange(1, 251, dtype=np.int32)
    rounded = rounded_lengths(lengths, max_tokens=250)
    assert (rounded >= lengths).all()
    assert rounded[-1] == 250
    assert ((rounded - lengths) / lengths).mean() < 0.02
    assert len(set(rounded.tolist())) < 110
    for length in (1, 47, 49, 100, 200):
        assert rounded_lengths(np.array([length], dtype=np.int32), max_tokens=250) == rounded[length - 1]


@pytest.mark.parametrize("budget", [1, 7, 64, 100_000])
def test_batches_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 40, size=500).astype(np.int32)
    batches = list(length_sorted_batches(lengths, tokens_per_batch=budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget


@pytest.mark.parametrize("budget", [1, 7, 64, 100_000])
def test_batches_of_one_length_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 40, size=500).astype(np.int32)
    batches = list(equal_length_batches(lengths, tokens_per_batch=budget))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    for batch in batches:
        assert len(set(lengths[batch])) == 1
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget
    assert list(equal_length_batches(np.zeros(0, np.int32), tokens_per_batch=budget)) == []


def test_a_text_that_leaves_no_token_is_one_unknown_token(encoder: TextEncoder) -> None:
    encoder.tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    encoded = encode(encoder, ["\x00", "good"])
    assert encoded.ids[0].tolist() == [encoder.unknown_id]
    assert encoded.lengths[0] == 1


def _with(path: Path, **parts: object) -> bytes:
    """Return a tokenizer file with other parts."""
    return json.dumps(json.loads(path.read_text()) | parts).encode()


def test_a_tokenizer_that_fails_at_the_first_text_is_refused_when_it_is_loaded(tiny_encoder: Path) -> None:
    path = tiny_encoder / "tokenizer.json"
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[GONE]", "type_id": 0}}]}
    nowhere = _with(path, post_processor=template | {"pair": [], "special_tokens": {}})
    without_unknown = _with(path, model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "gone"})
    for data in (nowhere, without_unknown):
        with pytest.raises(BundleError, match="tokenizer.json is no tokenizer that can be read"):
            parse_encoder(data, max_tokens=16, source="tokenizer.json")


def test_what_a_file_says_of_padding_costs_nothing(tiny_encoder: Path) -> None:
    padding = {"strategy": {"Fixed": 1 << 40}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    data = _with(tiny_encoder / "tokenizer.json", padding=padding)
    assert encode(parse_encoder(data, max_tokens=16, source="x"), ["tea"]).lengths[0] <= 16


@pytest.mark.parametrize(
    ("content", "found"), [(None, "is missing"), (b"{}", "is no tokenizer"), (b"\xff", "is no tokenizer")]
)
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=found) as error:
        load_encoder(path, max_tokens=16)
    assert str(path) in str(error.value)
