"""What may be done to a text before it is read, step by step as it is asked for; knows texts alone.

The same function cleans where reviews are prepared and on the one path from text to tokens (encoding.py). Of what a
reader sees, no step removes a letter of any script, a word, or one of ! ? ' outside of an address.
"""

import re
from collections.abc import Callable, Sequence
from html import unescape
from html.entities import html5

from sentiment_ray.errors import MissingExtraError

MAX_ROUNDS = 10
INLINE = "a abbr acronym b bdi bdo big cite code em font i ins kbd mark q s samp small span strike strong sub sup tt u"
OTHERS = (
    "address article aside blockquote body br button center caption col colgroup dd details div dl dt fieldset footer "
    "figcaption figure form h1 h2 h3 h4 h5 h6 head header hr html iframe img input label legend li link main meta nav "
    "ol option p pre script section select source style summary table tbody td textarea tfoot th thead title tr"
    " ul video"
)
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]{1,31}));")
# https://html.spec.whatwg.org/multipage/indices.html#attributes-3, those of type Boolean, and three of HTML 4.
ALONE = (
    "allowfullscreen|async|autofocus|autoplay|checked|compact|controls|default|defer|disabled|formnovalidate|hidden|inert|"
    "ismap|itemscope|loop|multiple|muted|nomodule|noshade|novalidate|nowrap|open|playsinline|readonly|required|reversed|"
    "selected"
)
# A name of HTML and attributes, those without a value by name, so that "<3", "a < b" and "<not good>" stay. Nothing is
# tried twice.
TAG = re.compile(
    r"<(?:/(?P<closed>[A-Za-z][A-Za-z0-9]{0,10})\s{0,9}|(?P<opened>[A-Za-z][A-Za-z0-9]{0,10})"
    r"(?>(?:\s{1,9}(?:[A-Za-z_:][\w:.-]{0,40}=(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]++)"
    rf"|(?i:{ALONE})(?=[\s/>])))*)\s{{0,9}}/?)>"
)
TAGS = frozenset(f"{INLINE} {OTHERS}".split())
INLINE_TAGS = frozenset(INLINE.split())
URL = re.compile(
    r"(?:https?://|(?<![\w.])www\.)"
    r"(?:[\w\-~:/?#\[\]@$&()*+=%]|\.(?!\.)|(?<=/)\.\.(?=/)|[,;](?![a-z]|$)|[,;](?=\w+[=/?&.,;]))*[\w/~=&#%+@$*-]",
    re.ASCII | re.IGNORECASE,
)
"""Letters of ASCII alone, as addresses are written: in a script without blanks the next word is no part of one. Nor is
a word after a comma, a semicolon or dots that lack their blank: it may be a "not"."""
HANDLE = re.compile(r"(?<![\w@./])@[A-Za-z_]\w*", re.ASCII)
URL_MASK, HANDLE_MASK = "http", "@user"
"""What TweetEval and the models trained on it write: Barbieri et al. 2020, https://arxiv.org/abs/2010.12421."""


def unescape_html(text: str) -> str:
    """Turn &amp;amp; and &amp;#39; into what they stand for; names without a semicolon (R&amp;D, &amp;notthis) stay."""
    return ENTITY.sub(_unescaped, text) if "&" in text else text


def strip_tags(text: str) -> str:
    """Remove the tags of HTML, a blank for each that begins a line, a cell or the like; what they enclose stays.

    Comments go whole, since no browser shows them.
    """
    return TAG.sub(_without_tag, _without_comments(text)) if "<" in text else text


def fix_mojibake(text: str) -> str:
    """Mend text that was decoded in a wrong encoding, as cafÃ© for café; MissingExtraError without ftfy."""
    if text.isascii():
        return text
    try:
        from ftfy import fix_encoding
    except ImportError:
        raise MissingExtraError(
            "ftfy is not installed, which the step fix_mojibake needs. Run: pip install 'sentiment-ray[clean]'"
        ) from None
    return str(fix_encoding(text))


def normalise_whitespace(text: str) -> str:
    """Make each run of white space one blank, and remove it at the ends."""
    return " ".join(text.split())


def mask_urls(text: str) -> str:
    """Write http for every address that begins with http://, https:// or www."""
    return URL.sub(URL_MASK, text)


def mask_handles(text: str) -> str:
    """Write @user for every @name; addresses of mail stay."""
    return HANDLE.sub(HANDLE_MASK, text) if "@" in text else text


STEPS: dict[str, Callable[[str], str]] = {
    step.__name__: step
    for step in (unescape_html, strip_tags, fix_mojibake, normalise_whitespace, mask_urls, mask_handles)
}


def check_steps(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return the steps; ValueError naming one that is unknown or comes twice."""
    for place, step in enumerate(steps):
        if step not in STEPS:
            raise ValueError(f"{step[:50]!r} is no step that is known. Known: {', '.join(STEPS)}")
        if step in steps[:place]:
            raise ValueError(f"the step {step!r} comes twice")
    return steps


def clean(text: str, steps: Sequence[str]) -> str:
    """Return the text after all steps, in their order, again and again until none changes it.

    So a clean text stays as it is: clean(clean(text)) == clean(text). A text that has not come to rest after ten
    rounds, as one that was escaped ten times, is returned as it came.
    """
    return clean_and_tell(text, steps)[0]


def clean_and_tell(text: str, steps: Sequence[str]) -> tuple[str, frozenset[str]]:
    """Return the text as `clean` does, and the steps that changed it."""
    cleaned, changed = text, set[str]()
    for _ in range(MAX_ROUNDS if steps else 1):
        before = cleaned
        for step in steps:
            after = STEPS[step](cleaned)
            if after != cleaned:
                changed.add(step)
            cleaned = after
        if cleaned == before:
            return cleaned, frozenset(changed)
    return text, frozenset()


def _unescaped(match: re.Match[str]) -> str:
    name = match.group(1)
    return unescape(match.group()) if name is None or f"{name};" in html5 else match.group()


def _without_comments(text: str) -> str:
    parts, end = [], 0
    while (start := text.find("<!--", end)) >= 0 and (stop := text.find("-->", start + len("<!"))) >= 0:
        parts.append(text[end:start])
        end = stop + len("-->")
    return "".join((*parts, text[end:]))


def _without_tag(match: re.Match[str]) -> str:
    name = (match["closed"] or match["opened"]).lower()
    if name not in TAGS:
        return match.group()
    return "" if name in INLINE_TAGS else " "
