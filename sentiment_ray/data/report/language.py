"""Guesses the language of texts with py3langid; knows texts alone."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sentiment_ray.errors import ConfigError, require_extra

LEAST_PROBABILITY = 0.9
LEAST_LETTERS = 20
LONGEST_TEXT = 2000
UNDECIDED = "?"


def languages_of(texts: Iterable[str]) -> list[str]:
    """Return the ISO 639-1 code of each text's language; "?" for one that is short or not clear."""
    identifier = _identifier()
    return [_language(identifier, text[:LONGEST_TEXT]) for text in texts]


def check_language(code: str) -> None:
    """ConfigError when a code is not one that the detector knows; MissingExtraError without the detector."""
    require_extra("check", "py3langid")
    known = sorted(set(_identifier().labels))
    if code not in known:
        raise ConfigError(f"language = {code!r} is not known. Take one of: {', '.join(known)}.")


def _language(identifier: Any, text: str) -> str:
    if sum(map(str.isalpha, text)) < LEAST_LETTERS:
        return UNDECIDED
    language, probability = identifier.classify(text)
    return str(language) if probability >= LEAST_PROBABILITY else UNDECIDED


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
