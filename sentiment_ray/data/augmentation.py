"""Alters training texts without changing their meaning; knows words, not rows or files.

No operation changes, adds or removes a negation.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

NEGATION_WORDS = (
    "no not nor non none never neither nobody nothing nowhere cannot without hardly barely scarcely seldom rarely "
    "lack lacks isnt arent wasnt werent dont doesnt didnt cant couldnt wont wouldnt shouldnt hasnt havent hadnt aint "
    "nicht kein keine keinen keinem keiner nie niemals nichts ohne pas jamais rien sans ningun ninguna nada senza "
    "niente mai niet geen nooit nunca nigdy ingen inte aldrig нет никогда никто ничего нельзя нигде"
)
NEGATIONS = frozenset(NEGATION_WORDS.split())
"""Words that no operation alters. Words with an apostrophe (isn't) are never altered, so they are not listed."""
ARTICLES = frozenset({"a", "an", "the"})
MIN_LETTERS = 4
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def typo(text: str, random: Random) -> str:
    """Swap two neighbouring letters inside a word of at least four letters."""
    word = _choose_word(text, random)
    if word is None:
        return text
    index = random.randrange(word.start() + 1, word.end() - 2)
    return text[:index] + text[index + 1] + text[index] + text[index + 2 :]


def repeat_letter(text: str, random: Random) -> str:
    """Add a letter inside a word of at least four letters twice more, as in greaaat."""
    word = _choose_word(text, random)
    if word is None:
        return text
    index = random.randrange(word.start() + 1, word.end() - 1)
    return text[:index] + text[index] * 2 + text[index:]


def lower_case(text: str, random: Random) -> str:
    """Write all letters in lower case."""
    return text.lower()


def drop_article(text: str, random: Random) -> str:
    """Remove one a, an or the and the space after it."""
    articles = [word for word in WORD.finditer(text) if word.group().lower() in ARTICLES]
    articles = [word for word in articles if text[word.end() : word.end() + 1] == " "]
    if not articles:
        return text
    word = random.choice(articles)
    return text[: word.start()] + text[word.end() + 1 :]


OPERATIONS: dict[str, Callable[[str, Random], str]] = {
    operation.__name__: operation for operation in (typo, repeat_letter, lower_case, drop_article)
}


def alter_text(text: str, operations: Sequence[str], random: Random) -> str | None:
    """Return the text after one random operation of `operations`; None if none of them changes it."""
    for name in random.sample(operations, len(operations)):
        altered = OPERATIONS[name](text, random)
        if altered != text and altered.strip():
            return altered
    return None


def _choose_word(text: str, random: Random) -> re.Match[str] | None:
    """Return a random word that may be misspelt: long enough, no negation, and all letters have upper and lower case.

    A script without case often has no spaces either, so what looks like one word could contain a negation.
    """
    words = [
        word
        for word in WORD.finditer(text)
        if len(word.group()) >= MIN_LETTERS and _has_case(word.group()) and word.group().lower() not in NEGATIONS
    ]
    return random.choice(words) if words else None


def _has_case(word: str) -> bool:
    return all(letter.lower() != letter.upper() for letter in word)
