"""Every contract counts, limits, scores and fails alike: one text, lists, Vertex, and tensors as JSON and as bytes."""

import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fastapi.testclient import TestClient

from sentiment_ray import Predictor
from sentiment_ray.serve.scoring import is_blank
from tests.serve.connect import connect
from tests.serve.doors import DOORS, Ask, Read, post, read_error, read_ranking, read_rankings, read_vertex

MAX_TEXTS = 20

TEXTS = [
    "What a good day!",
    "nul \0 inside",
    "\0",
    "\ufeff",
    "\ufeffgood",
    "cafe\u0301",
    "café",
    "one\u2028two\u2029three",
    "\u200b\u200d",
    "\u202eright to left",
    "👍🏽 ❤️",
    'a:b "c" \\ {} [] , : \u003a',
    "word " * 100,
]


@pytest.fixture(scope="module")
def client(golden: Predictor) -> Iterator[TestClient]:
    with connect(golden, max_texts=MAX_TEXTS) as client:
        yield client


def test_every_text_has_the_same_label_and_scores(
    client: TestClient, golden: Predictor, door: tuple[Ask, Read]
) -> None:
    ask, read = door
    scores = golden.score(TEXTS)
    expected = [
        (golden.labels[label_id], row)
        for label_id, row in zip(scores.label_ids, scores.probabilities.tolist(), strict=True)
    ]
    assert read(ask(client, TEXTS, True)) == expected
    assert [read(ask(client, [text], True))[0] for text in TEXTS] == expected


@pytest.mark.parametrize("name", [name for name in DOORS if name != "bytes"])
def test_half_a_surrogate_pair_is_scored(client: TestClient, golden: Predictor, name: str) -> None:
    ask, read = DOORS[name]
    text = "good \ud83d day"
    assert read(ask(client, [text], True))[0][1] == golden.score([text]).probabilities[0].tolist()


def test_one_text_is_answered_with_a_flat_list(client: TestClient) -> None:
    for text in TEXTS:
        alone = post(client, "/predict", {"inputs": text}).json()
        assert [alone] == post(client, "/", {"inputs": [text]}).json()
        assert [alone] == post(client, "/", {"inputs": text, "parameters": {"top_k": None}}).json()


def test_raw_scores_are_logits(client: TestClient, golden: Predictor) -> None:
    expected = golden.score(TEXTS).logits.tolist()
    body = {"inputs": TEXTS, "raw_scores": True}
    assert [row for _, row in read_rankings(post(client, "/predict", body))] == expected
    assert [row for _, row in read_rankings(post(client, "/", body | {"parameters": {}}))] == expected
    instances = [{"inputs": text, "raw_scores": True} for text in TEXTS]
    assert [row for _, row in read_vertex(post(client, "/vertex", {"instances": instances}))] == expected


def test_instances_are_answered_in_their_order_whatever_they_ask_for(client: TestClient, golden: Predictor) -> None:
    instances: list[dict[str, Any]] = [
        {"inputs": "tea", "truncate": True},
        {"inputs": ["good", ["bad"]], "truncate": False, "raw_scores": True},
        {"inputs": [["milk"]], "truncate": None},
    ]
    tea, pair, milk = post(client, "/vertex", {"instances": instances}).json()["predictions"]
    assert [read_ranking(tea)[1], read_ranking(milk[0])[1]] == golden.score(["tea", "milk"]).probabilities.tolist()
    assert [read_ranking(ranking)[1] for ranking in pair] == golden.score(["good", "bad"]).logits.tolist()
    instances[1]["inputs"] = ["good", "word " * 100]
    refused = post(client, "/vertex", {"instances": instances})
    assert refused.json()["error"].startswith("instances[1].inputs[1] has more than 32 tokens")


def test_as_many_texts_as_allowed_are_scored_and_one_more_is_refused(
    client: TestClient, door: tuple[Ask, Read]
) -> None:
    ask, read = door
    assert len(read(ask(client, ["tea"] * MAX_TEXTS, True))) == MAX_TEXTS
    refused = ask(client, ["tea"] * (MAX_TEXTS + 1), True)
    assert refused.status_code == 422
    message, kind = read_error(refused)
    assert message == f"The request holds {MAX_TEXTS + 1} texts; at most {MAX_TEXTS} may be sent at once."
    assert kind in ("Validation", None)


@pytest.mark.parametrize("blank", ["", " ", "\u3000\u2028\x1c"])
def test_a_blank_text_is_refused_by_its_index(client: TestClient, door: tuple[Ask, Read], blank: str) -> None:
    refused = door[0](client, ["tea", blank, "milk"], True)
    assert refused.status_code == 400
    message, kind = read_error(refused)
    assert message.startswith("No text in ") and "[1]" in message
    assert kind in ("Empty", None)


def test_the_service_and_the_jobs_call_the_same_characters_blank() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    lengths = pc.utf8_length(pc.utf8_trim_whitespace(pa.array(characters)))
    assert [is_blank(character) for character in characters] == pc.equal(lengths, 0).to_pylist()


def test_no_text_is_refused(client: TestClient, door: tuple[Ask, Read]) -> None:
    refused = door[0](client, [], True)
    assert refused.status_code == 400
    assert read_error(refused)[1] in ("Empty", None)


def test_a_text_that_would_be_cut_is_refused_if_the_client_says_so(client: TestClient, door: tuple[Ask, Read]) -> None:
    refused = door[0](client, ["tea", "word " * 100], False)
    assert refused.status_code == 422
    message, kind = read_error(refused)
    assert "[1]" in message and "has more than 32 tokens, and truncate is false" in message
    assert kind in ("Tokenizer", None)
    assert door[0](client, ["tea", "milk"], False).status_code == 200
