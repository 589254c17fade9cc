"""What each cleaning step does, what no step ever does, and that cleaning twice is the same as cleaning once."""

import subprocess
import sys
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_ray.text.cleaning import CLEANING_STEPS, check_cleaning_steps, clean, clean_and_list_steps
from tests.conftest import NASTY_TEXTS

ALL = tuple(CLEANING_STEPS)
ASCII_STEPS = tuple(step for step in ALL if step != "fix_mojibake")
PIECES = (
    "&",
    "amp;",
    "lt;",
    "gt;",
    "#60;",
    "<",
    "</",
    "b",
    ">",
    "br/>",
    " ",
    "\n",
    "@",
    "user",
    "http",
    "://",
    "www.",
    "é",
    "!",
    "--",
)

quick = settings(max_examples=150, deadline=None)


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        ("unescape_html", "Tom &amp; Jerry &#39;n&#x27; co &lt;3", "Tom & Jerry 'n' co <3"),
        ("unescape_html", "AT&T, R&D, a&notb, &notgood; &unknown;", "AT&T, R&D, a&notb, &notgood; &unknown;"),
        ("unescape_html", "&amp;amp;lt;", "<"),
        ("strip_tags", "good<br />bad<p class='x'>ugly</p>", "good bad ugly "),
        ("strip_tags", "<b>n</b>ot <i>so</i> bad", "not so bad"),
        ("strip_tags", '<a href="http://x.y/?a=1&b=2" target=_blank>here</a>', "here"),
        (
            "strip_tags",
            "I <3 it, 1 < 2 > 0, <not good>, <b not good>, <nope>",
            "I <3 it, 1 < 2 > 0, <not good>, <b not good>, <nope>",
        ),
        ("strip_tags", "<video controls src='a' Loop/><p hidden>so <b\nnowrap >good</b>", "  so good"),
        ("strip_tags", "<p hiddenly><b open not>", "<p hiddenly><b open not>"),
        ("strip_tags", "all<!-- <p>x</p> @font-face { } --> is<!--> well<!---->", "all is well"),
        ("strip_tags", "<!-- not bad, <! -- good --", "<!-- not bad, <! -- good --"),
        ("fix_mojibake", "cafÃ© â€œniceâ€\x9d", "café “nice”"),
        ("fix_mojibake", "naïve — 不错 ❤️", "naïve — 不错 ❤️"),
        ("normalise_whitespace", " a\t\tb\n\u00a0c\u2003", "a b c"),
        ("mask_urls", "see http://a.b/c?d=e#f, www.x.org! (https://y.z)", "see http, http! (http)"),
        ("mask_urls", "看http://t.co/aB1不好", "看http不好"),
        ("mask_urls", "a http and htt://p, awww.so", "a http and htt://p, awww.so"),
        ("mask_urls", "http://x.com,not good", "http,not good"),
        ("mask_urls", "https://t.co/abc;not great", "http;not great"),
        ("mask_urls", "www.shop.com...never again!", "http...never again!"),
        ("mask_urls", "http://maps.org/@48.85,2.35;7?a=1,2.", "http."),
        ("mask_urls", "http://a.com/?a=1&amp;b=2 good", "http good"),
        ("mask_urls", "see http://a.com/w,15,title.html, or http://a.com/../p;id=AB?x=1", "see http, or http"),
        ("mask_handles", "@Bob_1, thanks @you! me@mail.org 5 @ 3 @5pm", "@user, thanks @user! me@mail.org 5 @ 3 @5pm"),
        ("mask_handles", "RT@bob 好@bob不好", "RT@bob 好@user不好"),
    ],
)
def test_a_step_changes_what_it_should_and_nothing_else(step: str, text: str, expected: str) -> None:
    assert clean(text, [step]) == expected


def test_steps_are_applied_in_order_until_nothing_changes() -> None:
    assert clean("&lt;br&gt;@me", ["strip_tags", "unescape_html", "mask_handles", "normalise_whitespace"]) == "@user"
    assert clean("http://x.y/@me", ["mask_handles"]) == "http://x.y/@me"
    assert clean_and_list_steps("a  b &amp; c", ALL) == ("a b & c", {"unescape_html", "normalise_whitespace"})


def test_without_steps_a_text_stays_the_same_object() -> None:
    for text in (*NASTY_TEXTS, "\ud83d", ""):
        assert clean(text, ()) is text


@pytest.mark.parametrize(
    "text",
    ["&" + "amp;" * 50 + "lt;", "&amp;" * 50_000, "<" * 100_000, "<a b=" * 50_000, "<!--" * 50_000, "<b open" * 50_000],
)
def test_texts_that_need_many_rounds_end_quickly(text: str) -> None:
    """A text that was escaped fifty times stays as it is; cleaned halfway it would change again the next time."""
    assert clean(clean(text, ALL), ALL) == clean(text, ALL)
    assert clean("&" + "amp;" * 50 + "lt;", ALL) == "&" + "amp;" * 50 + "lt;"


@quick
@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=20).map("".join), st.permutations(ALL))
def test_cleaning_twice_is_the_same_as_cleaning_once(text: str, steps: list[str]) -> None:
    assert clean(clean(text, steps), steps) == clean(text, steps)


LETTERS = st.characters(categories=["L", "M", "N", "S", "P"], exclude_characters="&<>@")


@quick
@given(st.lists(st.text(LETTERS, min_size=1, max_size=9), max_size=12).map(" ".join), st.permutations(ASCII_STEPS))
def test_letters_of_every_script_and_punctuation_survive(text: str, steps: list[str]) -> None:
    """Everything but addresses, tags, names after @ and entities is still there, in order."""
    if "://" not in text and "www." not in text.lower():
        assert clean(text, steps).split() == text.split()


BETWEEN = (" ", "<br>", "&nbsp;", " @bob ", " http://x.y/z ", "<b> ")
WORDS = (
    "not",
    "never",
    "n't",
    "don't",
    "no",
    "nicht",
    "pas",
    "不",
    "नहीं",
    "لا",
    "не",
    "ない",
    "!",
    "?",
    "'",
    "!?",
    "...",
)


@quick
@given(
    st.lists(
        st.tuples(st.sampled_from(WORDS), st.sampled_from(BETWEEN)),
        max_size=15,
    ),
    st.permutations(ALL),
)
def test_negations_and_punctuation_survive_next_to_what_is_removed(
    pairs: list[tuple[str, str]], steps: list[str]
) -> None:
    cleaned = clean("".join(word + between for word, between in pairs), steps)
    position = 0
    for word, _ in pairs:
        position = cleaned.index(word, position) + len(word)


@given(st.sampled_from([*permutations(ALL, 2)]), st.sampled_from(["os.system", "", "Strip_Tags", "x" * 999]))
@settings(max_examples=20, deadline=None)
def test_unknown_and_repeated_steps_are_refused_by_name(steps: tuple[str, ...], unknown: str) -> None:
    assert check_cleaning_steps(steps) == steps
    with pytest.raises(ValueError, match=f"'{unknown[:50]}' is not a known cleaning step. Known: unescape_html, "):
        check_cleaning_steps((*steps, unknown))
    with pytest.raises(ValueError, match=f"the cleaning step '{steps[0]}' comes twice"):
        check_cleaning_steps((*steps, steps[0]))


def test_only_fix_mojibake_loads_ftfy_and_names_it_when_it_is_missing() -> None:
    code = (
        "import sys\nfrom sentiment_ray import Predictor\n"
        "from sentiment_ray.text.cleaning import CLEANING_STEPS, clean\n"
        "clean('é <b>', [step for step in CLEANING_STEPS if step != 'fix_mojibake'])\n"
        "assert 'ftfy' not in sys.modules\n"
        "sys.modules['ftfy'] = None\n"
        "from sentiment_ray.text.encoding import parse_encoder; from tokenizers import Tokenizer, models\n"
        "tokenizer = Tokenizer(models.WordLevel({'?': 0}, '?')).to_str().encode()\n"
        "try: parse_encoder(tokenizer, max_tokens=9, cleaning_steps=['fix_mojibake'], source='x')\n"
        "except ImportError as error: print(error)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip().endswith("Run: pip install 'sentiment-ray[clean]'")
