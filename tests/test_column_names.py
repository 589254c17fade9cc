"""The column that a name means, and what is said about one that is missing."""

from collections.abc import Sequence

import pytest

from sentiment_ray.column_names import describe_missing_column, quote_names, resolve_column


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("text", ["id", "text"], "text"),
        ("text", ["id", " text"], " text"),
        ("text", ["text\u00a0", "label"], "text\u00a0"),
        ("text", ["\ufefftext", "label"], "\ufefftext"),
        ("text", ["text", "text "], "text"),
        ("text ", ["text", "text "], "text "),
        ("text", [" text", "text "], None),
        ("text", ["Text", "te xt"], None),
        ("", ["text"], None),
    ],
)
def test_a_name_means_the_exact_column_or_the_only_padded_one(
    name: str, found: Sequence[str], expected: str | None
) -> None:
    assert resolve_column(name, found) == expected


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("text", ["id", "stars"], "the column 'text' is missing (found: 'id', 'stars')."),
        ("text", [], "the column 'text' is missing (found: none)."),
        ("text", ["Text ", "id"], "(found: 'Text ', 'id'). Did you mean 'Text '?"),
        ("text", [" text", "text  "], "Several names differ from it by blanks alone: ' text', 'text  '."),
        (
            "Review",
            ["Review, in your words"],
            "comma is written in double quotes inside the flag's value: '\"Review, in",
        ),
        ("why not", ['Say "why", why not'], """'"Say ""why"", why not"'."""),
        ("text", ["te\u200bxt"], r"(found: 'te\u200bxt'). Did you mean"),
    ],
)
def test_a_missing_column_is_described_with_the_names_in_quotes(name: str, found: Sequence[str], expected: str) -> None:
    assert expected in describe_missing_column(name, found)


def test_many_names_are_cut() -> None:
    assert quote_names(map(str, range(21))).endswith("'19', ...")
    assert quote_names(map(str, range(20))).endswith("'19'")
