"""Altered copies of training texts that mean what the text meant; knows words, not rows or files.

No operation touches a word that negates, and none adds or removes one.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

NEGATING = (
    "no not nor non none never neither nobody nothing nowhere cannot without hardly barely scarcely seldom rarely "
    "lack lacks isnt arent wasnt werent dont doesnt didnt cant couldnt wont wouldnt shouldnt hasnt havent hadnt aint "
    "nicht kein keine keinen keinem keiner nie niemals nichts ohne pas jamais rien sans ningun ninguna nada senza "
    "niente mai niet geen nooit nunca nigdy ingen inte aldrig нет никогда никто ничего нельзя нигде"
)
NEGATIONS = frozenset(NEGATING.split())
"""Words that no operation alters; those with an apostrophe (isn't) never are."""
ARTICLES = frozenset({"a", "an", "the"})
LEAST_LETTERS = 4
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def typo(text: str, random: Random) -> str:
    """Swap two neighbouring letters within a word of four letters or more; its first and last stay."""
    word = _chosen(text, random)
    if word is None:
        return text
    place = random.randrange(word.start() + 1, word.end() - 2)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def repeat_letter(text: str, random: Random) -> str:
    """Write a letter within a word of four letters or more twice more, as in greaaat."""
    word = _chosen(text, random)
    if word is None:
        return text
    place = random.randrange(word.start() + 1, word.end() - 1)
    return text[:place] + text[place] * 2 + text[place:]


def lower_case(text: str, random: Random) -> str:
    """Write all in small letters."""
    return text.lower()


def drop_article(text: str, random: Random) -> str:
    """Leave out one a, an or the with the blank after it."""
    articles = [word for word in WORD.finditer(text) if word.group().lower() in ARTICLES]
    articles = [word for word in articles if text[word.end() : word.end() + 1] == " "]
    if not articles:
        return text
    word = random.choice(articles)
    return text[: word.start()] + text[word.end() + 1 :]


OPERATIONS: dict[str, Callable[[str, Random], str]] = {
    operation.__name__: operation for operation in (typo, repeat_letter, lower_case, drop_article)
}


def altered(text: str, operations: Sequence[str], random: Random) -> str | None:
    """Return the text after one of `operations`, drawn by `random`; None when none of them leaves another text."""
    for name in random.sample(operations, len(operations)):
        found = OPERATIONS[name](text, random)
        if found != text and found.strip():
            return found
    return None


def _chosen(text: str, random: Random) -> re.Match[str] | None:
    """Return a word that may be misspelt: long enough, no negation, and of letters that are small or capital.

    Scripts without case are often written without blanks, so that a negation could be a part of what looks like a word.
    """
    words = [
        word
        for word in WORD.finditer(text)
        if len(word.group()) >= LEAST_LETTERS and _has_case(word.group()) and word.group().lower() not in NEGATIONS
    ]
    return random.choice(words) if words else None


def _has_case(word: str) -> bool:
    return all(letter.lower() != letter.upper() for letter in word)
