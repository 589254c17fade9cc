"""Which part of a long text is read, and how the rows of a text become one answer."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.processors import BertProcessing, RobertaProcessing, TemplateProcessing

from sentiment_ray.text.encoding import TextEncoder, encode, parse_encoder, pool_logits, select_rows
from sentiment_ray.text.truncation import HEAD, Cut, TokenWindows, Truncation, cut_tokens, read_truncation
from sentiment_ray.train.config import TrainConfig
from tests.conftest import NASTY_TEXTS

TAIL, HEAD_TAIL = Cut(mode="tail"), Cut(mode="head_tail")
WINDOWS = TokenWindows(pooling="mean", overlap=0.25, max_windows=64)
ALL = (HEAD, TAIL, HEAD_TAIL, WINDOWS)
MAX_TOKENS = 16
BEGIN, END = -1, -2


def _bert_like(tiny_encoder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    cls, sep = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return tokenizer


def _encoder(tokenizer: Tokenizer, truncation: Truncation) -> TextEncoder:
    return parse_encoder(
        tokenizer.to_str().encode(), max_tokens=MAX_TOKENS, truncation=truncation, source="tokenizer.json"
    )


def _cut(num_tokens: int, truncation: Truncation, max_tokens: int) -> tuple[list[list[int]], bool]:
    """Cut a text whose tokens are counted from 0, between a token before and one after it."""
    special = [1, *[0] * num_tokens, 1]
    rows, is_cut = cut_tokens([BEGIN, *range(num_tokens), END], special, truncation, max_tokens)
    assert all((row[0], row[-1], len(row)) == (BEGIN, END, max_tokens) for row in rows)
    return [row[1:-1] for row in rows], is_cut


@pytest.mark.parametrize(
    ("truncation", "expected"),
    [
        (HEAD, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (TAIL, [20, 21, 22, 23, 24, 25, 26, 27, 28, 29]),
        (HEAD_TAIL, [0, 1, 2, 23, 24, 25, 26, 27, 28, 29]),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_a_row_holds_the_start_the_end_or_both(truncation: Truncation, expected: list[int]) -> None:
    assert _cut(30, truncation, 12) == ([expected], True)


def test_head_tail_reads_the_first_128_and_the_last_382_of_510_tokens_as_in_its_paper() -> None:
    rows, _ = _cut(2000, HEAD_TAIL, 512)
    assert rows == [[*range(128), *range(2000 - 382, 2000)]]


@pytest.mark.parametrize("num_tokens", [11, 17, 18, 25, 26, 100, 333])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
def test_windows_hold_every_token_and_overlap_by_the_given_share(num_tokens: int, overlap: float) -> None:
    rows, is_cut = _cut(num_tokens, WINDOWS.model_copy(update={"overlap": overlap, "max_windows": 400}), 12)
    assert not is_cut
    assert rows[0][0] == 0
    assert rows[-1][-1] == num_tokens - 1
    assert sorted({token for row in rows for token in row}) == list(range(num_tokens))
    shared = [len({*first} & {*second}) for first, second in zip(rows, rows[1:], strict=False)]
    assert shared[:-1] == [int(10 * overlap)] * (len(rows) - 2)
    assert int(10 * overlap) <= shared[-1] < 10, "the last window starts earlier, but never where the one before starts"


def test_a_text_of_more_than_max_windows_is_truncated_and_marked() -> None:
    windows = TokenWindows(pooling="mean", overlap=0.2, max_windows=3)
    assert _cut(26, windows, 12) == ([[*range(10)], [*range(8, 18)], [*range(16, 26)]], False)
    assert _cut(27, windows, 12) == ([[*range(10)], [*range(8, 18)], [*range(16, 26)]], True)


def test_windows_of_one_token_are_possible() -> None:
    assert _cut(3, WINDOWS, 3) == ([[0], [1], [2]], False)
    assert _cut(3, HEAD_TAIL, 3) == ([[0]], True)


@pytest.mark.parametrize("truncation", ALL, ids=lambda truncation: truncation.mode)
def test_texts_that_fit_are_one_row_which_is_the_same_in_every_mode(tiny_encoder: Path, truncation: Truncation) -> None:
    texts = ["", " ", "\x00", "tea", "a b c d e f g h i j k l m n", "x", "x" * 1000]
    head, encoded = (encode(_encoder(_bert_like(tiny_encoder), mode), texts) for mode in (HEAD, truncation))
    assert [row.tolist() for row in encoded.ids] == [row.tolist() for row in head.ids]
    assert encoded.text_indices.tolist() == list(range(len(texts)))
    assert encoded.num_tokens.tolist() == encoded.lengths.tolist()
    assert encoded.lengths.max() == MAX_TOKENS
    assert not encoded.truncated.any()


def _byte_level(texts: list[str]) -> Tokenizer:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, vocab_size=400, special_tokens=["<s>", "</s>"], show_progress=False)
    trained.post_processor = RobertaProcessing(("</s>", 1), ("<s>", 0))
    return trained._tokenizer


@pytest.fixture(params=["BERT's", "RoBERTa's", "without special tokens"])
def tokenizer(request: pytest.FixtureRequest, tiny_encoder: Path, everyday: list[tuple[str, str]]) -> Tokenizer:
    if request.param == "RoBERTa's":
        return _byte_level([text for text, _ in everyday])
    tokenizer = _bert_like(tiny_encoder)
    if request.param == "without special tokens":
        tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    return tokenizer


@pytest.mark.parametrize(("truncation", "direction"), [(HEAD, "right"), (TAIL, "left")])
def test_head_and_tail_equal_the_truncation_of_the_tokenizers_library(
    tokenizer: Tokenizer, truncation: Truncation, direction: str, everyday: list[tuple[str, str]]
) -> None:
    encoder = _encoder(tokenizer, truncation)
    sentences = [text for text, _ in everyday]
    # The library gets each text whole. This project first cuts the characters of a very long one.
    texts = [*sentences, " ".join(sentences[:20]), *(text for text in NASTY_TEXTS if len(text) < 1000)]
    texts += ["[CLS] [SEP] </s> " * 50, "good " * 5000]
    tokenizer.enable_truncation(MAX_TOKENS, direction=direction)
    encoded = encode(encoder, texts)
    for row, is_truncated, encoding in zip(encoded.ids, encoded.truncated, tokenizer.encode_batch(texts), strict=True):
        assert row.tolist() == encoding.ids
        assert is_truncated == bool(encoding.overflowing)


def test_all_windows_but_the_last_equal_those_of_the_tokenizers_library(tokenizer: Tokenizer) -> None:
    windows = TokenWindows(pooling="mean", overlap=0.5, max_windows=64)
    encoder = _encoder(tokenizer, windows)
    text = " ".join(f"{word} {count}" for count in range(20) for word in ("good", "bad", "pie"))
    room = MAX_TOKENS - tokenizer.num_special_tokens_to_add(False)
    tokenizer.enable_truncation(MAX_TOKENS, stride=room // 2)
    whole = tokenizer.encode(text)
    expected = [whole.ids, *(window.ids for window in whole.overflowing)]
    encoded = encode(encoder, [text])
    assert [row.tolist() for row in encoded.ids[:-1]] == expected[:-1]
    assert encoded.lengths.tolist() == [MAX_TOKENS] * len(expected)


@pytest.mark.parametrize("truncation", ALL, ids=lambda truncation: truncation.mode)
def test_a_text_of_a_million_words_has_at_most_max_windows_rows_and_keeps_its_ends(
    tiny_encoder: Path, truncation: Truncation
) -> None:
    encoder = _encoder(_bert_like(tiny_encoder), truncation)
    before, good, after = encode(encoder, ["good"]).ids[0].tolist()
    encoded = encode(encoder, ["good " + "x " * 1_000_000 + "good", "x" * 1_000_000])
    assert encoded.truncated.tolist() == [True, True]
    rows = [row.tolist() for row in encoded.ids]
    assert all((row[0], row[-1]) == (before, after) for row in rows)
    assert (rows[0][1] == good) == (truncation.mode != "tail")
    assert (rows[0][-2] == good) == (truncation.mode in ("tail", "head_tail"))
    assert np.bincount(encoded.text_indices).tolist() == [truncation.max_windows, 1]


def test_long_texts_reach_the_tokenizer_in_parts_and_keep_their_order(tiny_encoder: Path) -> None:
    encoder = _encoder(_bert_like(tiny_encoder), WINDOWS)
    texts = [word * count for count in (500_000, 3, 1) for word in ("good ", "x ", "", "tea ") for _ in range(3)]
    in_one_call, alone = encode(encoder, texts), [encode(encoder, [text]) for text in texts]
    rows = [row.tolist() for encoded in alone for row in encoded.ids]
    assert [row.tolist() for row in in_one_call.ids] == rows
    assert in_one_call.num_tokens.tolist() == [encoded.num_tokens[0] for encoded in alone]
    assert in_one_call.truncated.tolist() == [encoded.truncated[0] for encoded in alone]


def test_tokens_are_counted_over_all_windows_of_a_text(tiny_encoder: Path) -> None:
    encoded = encode(_encoder(_bert_like(tiny_encoder), WINDOWS), ["tea", "Ω " * 40, "tea " * 5000, ""])
    rows = np.bincount(encoded.text_indices)
    assert rows.tolist() == [1, 4, 64, 1]
    assert encoded.num_tokens.tolist() == [encoded.lengths[0], 4 * MAX_TOKENS, 64 * MAX_TOKENS, 2]
    assert encoded.num_unknown.tolist() == [0, 4 * (MAX_TOKENS - 2), 0, 0]
    assert encoded.truncated.tolist() == [False, False, True, False]
    assert encoded.text_indices.tolist() == np.repeat(np.arange(4), rows).tolist()
    assert select_rows(encoded, np.array([3, 1, 0])).tolist() == [69, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("truncation", ALL, ids=lambda truncation: truncation.mode)
def test_no_texts_have_no_rows(tiny_encoder: Path, truncation: Truncation) -> None:
    encoded = encode(_encoder(_bert_like(tiny_encoder), truncation), [])
    assert encoded.ids == []
    assert all(
        len(values) == 0
        for values in (encoded.text_indices, encoded.num_tokens, encoded.num_unknown, encoded.truncated)
    )


def test_the_logits_of_windows_are_pooled_by_text() -> None:
    logits = np.array([[1, 8], [2, 4], [6, 0], [5, -5]], dtype=np.float32)
    texts = np.array([3, 7, 7, 9])
    maximum = WINDOWS.model_copy(update={"pooling": "max"})
    assert pool_logits(logits, texts, WINDOWS).tolist() == [[1, 8], [4, 2], [5, -5]]
    assert pool_logits(logits, texts, maximum).tolist() == [[1, 8], [6, 4], [5, -5]]
    assert pool_logits(logits, np.arange(4), HEAD) is logits


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooled_logits_do_not_depend_on_other_texts(pooling: str) -> None:
    truncation = WINDOWS.model_copy(update={"pooling": pooling})
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 65, size=400)
    texts = np.repeat(np.arange(400), counts)
    logits = (rng.standard_normal((len(texts), 3)) * 10.0 ** rng.integers(-6, 6, (len(texts), 1))).astype(np.float32)
    pooled = pool_logits(logits, texts, truncation)
    assert pooled.dtype == np.float32
    alone = [pool_logits(logits[texts == text], texts[texts == text], truncation)[0] for text in range(400)]
    assert np.array_equal(pooled, np.array(alone))
    single = counts == 1
    assert np.array_equal(pooled[single], logits[np.isin(texts, np.flatnonzero(single))])


def _config(**keys: object) -> TrainConfig:
    return TrainConfig.model_validate({"prepared": "p", "model": "m", "output": "o"} | keys)


def test_the_keys_of_train_name_the_truncation() -> None:
    keys = {"truncation": "windows", "pooling": "max", "window_overlap": 0.5, "max_windows": 4}
    assert read_truncation(_config(**keys).model_dump()) == TokenWindows(pooling="max", overlap=0.5, max_windows=4)
    assert read_truncation(_config(truncation="tail").model_dump()) == TAIL
    assert read_truncation(_config().model_dump()) == read_truncation({"max_tokens": 128}) == HEAD


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"truncation": "middle"}, "'head', 'tail', 'head_tail' or 'windows'"),
        ({"pooling": "max"}, "pooling = 'max' needs truncation = 'windows', but it is 'head'"),
        ({"truncation": "tail", "max_windows": 3}, "max_windows = 3 needs truncation = 'windows'"),
        ({"truncation": "windows", "window_overlap": 1}, "less than or equal to 0.9"),
        ({"truncation": "windows", "max_windows": 65}, "less than or equal to 64"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _config(**keys)
