"""Detects the language of texts with py3langid. Knows texts alone."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sentiment_ray.errors import ConfigError, require_extra

MIN_PROBABILITY = 0.9
MIN_LETTERS = 20
MAX_CHARACTERS = 2000
UNCLEAR = "?"
"""The language of a text that is too short, or whose language is not clear."""


def detect_languages(texts: Iterable[str]) -> list[str]:
    """Return the ISO 639-1 code of each text's language, or UNCLEAR."""
    identifier = _load_identifier()
    return [_detect_language(identifier, text[:MAX_CHARACTERS]) for text in texts]


def check_language(code: str) -> None:
    """Raise ConfigError for a code that the detector does not know, MissingExtraError without the detector."""
    require_extra("check", "py3langid")
    known = sorted(set(_load_identifier().labels))
    if code not in known:
        raise ConfigError(f"language = {code!r} is not known. Use one of: {', '.join(known)}.")


def _detect_language(identifier: Any, text: str) -> str:
    if sum(map(str.isalpha, text)) < MIN_LETTERS:
        return UNCLEAR
    language, probability = identifier.classify(text)
    return str(language) if probability >= MIN_PROBABILITY else UNCLEAR


@lru_cache(maxsize=1)
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
