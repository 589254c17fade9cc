"""Optional cleaning steps for texts; knows nothing but strings.

The same function cleans where reviews are prepared and where texts become tokens (encoding.py). Outside of addresses no
step removes anything that a reader sees: no letter of any script, no word, and none of ! ? '.
"""

import re
from collections.abc import Callable, Sequence
from html import unescape
from html.entities import html5

from sentiment_ray.errors import MissingExtraError

MAX_ROUNDS = 10
INLINE_TAG_NAMES = (
    "a abbr acronym b bdi bdo big cite code em font i ins kbd mark q s samp small span strike strong sub sup tt u"
)
BLOCK_TAG_NAMES = (
    "address article aside blockquote body br button center caption col colgroup dd details div dl dt fieldset footer "
    "figcaption figure form h1 h2 h3 h4 h5 h6 head header hr html iframe img input label legend li link main meta nav "
    "ol option p pre script section select source style summary table tbody td textarea tfoot th thead title tr"
    " ul video"
)
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]{1,31}));")
# The Boolean attributes of https://html.spec.whatwg.org/multipage/indices.html#attributes-3, and three of HTML 4.
BOOLEAN_ATTRIBUTES = (
    "allowfullscreen|async|autofocus|autoplay|checked|compact|controls|default|defer|disabled|formnovalidate|hidden|inert|"
    "ismap|itemscope|loop|multiple|muted|nomodule|noshade|novalidate|nowrap|open|playsinline|readonly|required|reversed|"
    "selected"
)
# A tag name and attributes; those without a value are matched by name, so that "<3", "a < b" and "<not good>" stay.
# The pattern never backtracks, so a long text cannot make it slow.
TAG = re.compile(
    r"<(?:/(?P<closed>[A-Za-z][A-Za-z0-9]{0,10})\s{0,9}|(?P<opened>[A-Za-z][A-Za-z0-9]{0,10})"
    r"(?>(?:\s{1,9}(?:[A-Za-z_:][\w:.-]{0,40}=(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]++)"
    rf"|(?i:{BOOLEAN_ATTRIBUTES})(?=[\s/>])))*)\s{{0,9}}/?)>"
)
TAGS = frozenset(f"{INLINE_TAG_NAMES} {BLOCK_TAG_NAMES}".split())
INLINE_TAGS = frozenset(INLINE_TAG_NAMES.split())
URL = re.compile(
    r"(?:https?://|(?<![\w.])www\.)"
    r"(?:[\w\-~:/?#\[\]@$&()*+=%]|\.(?!\.)|(?<=/)\.\.(?=/)|[,;](?![a-z]|$)|[,;](?=\w+[=/?&.,;]))*[\w/~=&#%+@$*-]",
    re.ASCII | re.IGNORECASE,
)
"""An address has ASCII letters only, because in a script without spaces the next word follows at once. It ends at a
comma, a semicolon or dots that a word follows without a space: that word may be a "not"."""
HANDLE = re.compile(r"(?<![\w@./])@[A-Za-z_]\w*", re.ASCII)
URL_MASK, HANDLE_MASK = "http", "@user"
"""As in TweetEval and the models trained on it: Barbieri et al. 2020, https://arxiv.org/abs/2010.12421."""


def unescape_html(text: str) -> str:
    """Replace HTML entities such as `&amp;`; names without a semicolon (`R&D`, `&notthis`) stay."""
    return ENTITY.sub(_unescape_match, text) if "&" in text else text


def strip_tags(text: str) -> str:
    """Remove HTML tags and keep the text between them; a tag that starts a line or a cell becomes a space.

    Comments are removed with their text, since no browser shows them.
    """
    return TAG.sub(_replace_tag, _remove_comments(text)) if "<" in text else text


def fix_mojibake(text: str) -> str:
    """Repair text that was decoded with the wrong encoding (cafÃ© for café); MissingExtraError without ftfy."""
    if text.isascii():
        return text
    try:
        from ftfy import fix_encoding
    except ImportError:
        raise MissingExtraError(
            "The cleaning step fix_mojibake needs ftfy. Run: pip install 'sentiment-ray[clean]'"
        ) from None
    return str(fix_encoding(text))


def normalise_whitespace(text: str) -> str:
    """Replace each run of white space by one space, and remove it at both ends."""
    return " ".join(text.split())


def mask_urls(text: str) -> str:
    """Replace every address that begins with http://, https:// or www. by "http"."""
    return URL.sub(URL_MASK, text)


def mask_handles(text: str) -> str:
    """Replace every @name by "@user"; mail addresses stay."""
    return HANDLE.sub(HANDLE_MASK, text) if "@" in text else text


CLEANING_STEPS: dict[str, Callable[[str], str]] = {
    step.__name__: step
    for step in (unescape_html, strip_tags, fix_mojibake, normalise_whitespace, mask_urls, mask_handles)
}


def check_cleaning_steps(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return the steps; ValueError names a step that is unknown or comes twice."""
    for index, step in enumerate(steps):
        if step not in CLEANING_STEPS:
            raise ValueError(f"{step[:50]!r} is not a known cleaning step. Known: {', '.join(CLEANING_STEPS)}")
        if step in steps[:index]:
            raise ValueError(f"the cleaning step {step!r} comes twice")
    return steps


def clean(text: str, steps: Sequence[str]) -> str:
    """Apply all steps in order, and repeat until no step changes the text.

    So cleaning twice is the same as cleaning once. A text that still changes after MAX_ROUNDS rounds, such as one that
    was escaped twenty times, is returned as it came.
    """
    return clean_and_list_steps(text, steps)[0]


def clean_and_list_steps(text: str, steps: Sequence[str]) -> tuple[str, frozenset[str]]:
    """Return the cleaned text (see `clean`) and the steps that changed it."""
    cleaned, changed = text, set[str]()
    for _ in range(MAX_ROUNDS if steps else 1):
        before = cleaned
        for step in steps:
            after = CLEANING_STEPS[step](cleaned)
            if after != cleaned:
                changed.add(step)
            cleaned = after
        if cleaned == before:
            return cleaned, frozenset(changed)
    return text, frozenset()


def _unescape_match(match: re.Match[str]) -> str:
    name = match.group(1)
    return unescape(match.group()) if name is None or f"{name};" in html5 else match.group()


def _remove_comments(text: str) -> str:
    parts, end = [], 0
    while (start := text.find("<!--", end)) >= 0 and (stop := text.find("-->", start + len("<!"))) >= 0:
        parts.append(text[end:start])
        end = stop + len("-->")
    return "".join((*parts, text[end:]))


def _replace_tag(match: re.Match[str]) -> str:
    name = (match["closed"] or match["opened"]).lower()
    if name not in TAGS:
        return match.group()
    return "" if name in INLINE_TAGS else " "
