"""Which parts and patterns a tokenizer.json may have: those of the known families; loads no tokenizer.

A tokenizer runs its parts over every text. A regular expression that backtracks, or a replacement that grows, lets one
short text cost hours or gigabytes. So the parts are those that the families in `model_config.FAMILIES` use, and the
regular expressions are the few that their published tokenizers hold.
"""

import base64
import binascii
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.files import quote
from sentiment_ray.errors import BundleError

NORMALIZERS = "BertNormalizer Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend Replace Sequence Strip StripAccents"
PRE_TOKENIZERS = "BertPreTokenizer ByteLevel Digits Metaspace Punctuation Sequence Split Whitespace WhitespaceSplit"
POST_PROCESSORS = "BertProcessing ByteLevel RobertaProcessing Sequence TemplateProcessing"
DECODERS = "BPEDecoder ByteFallback ByteLevel Fuse Metaspace Replace Sequence Strip WordPiece"
SECTIONS = {
    "normalizer": (NORMALIZERS, "normalizers"),
    "pre_tokenizer": (PRE_TOKENIZERS, "pretokenizers"),
    "post_processor": (POST_PROCESSORS, "processors"),
    "decoder": (DECODERS, "decoders"),
}
"""By section of tokenizer.json: the types of its parts, and the key under which a `Sequence` lists parts of its own."""

REGULAR_EXPRESSIONS = frozenset(
    {
        " {2,}",  # SentencePiece: XLM-RoBERTa, CamemBERT, ALBERT, DeBERTa
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # byte-level BPE: RoBERTa
    }
)
MAX_LITERAL_CHARACTERS = 64
MAX_REPLACEMENT_BYTES = 64
"""In a `Precompiled` table. The longest of Unicode's own is the 33 bytes for U+FDFA."""
MAX_WORD_CHARACTERS = 200
"""Longest word that WordPiece divides, at quadratic cost; the families have 100."""
MAX_UNIGRAM_CHARACTERS = 256
"""Longest piece of a Unigram vocabulary, which is tried at every character; SentencePiece makes 16 unless asked."""


def check_patterns(tokenizer: dict[str, Any], source: str | Path, *, remedy: str) -> None:
    """Refuse a tokenizer.json, parsed, whose parts could cost more than its families' do; BundleError names the part.

    Refused are unknown types of parts, unknown regular expressions, replacements of more than one character, and
    vocabularies or words for which the work grows with the square of a text.
    """
    for section, (types, inner) in SECTIONS.items():
        for part in _parts(tokenizer.get(section), inner):
            fault = _fault_of_part(part, types.split())
            if fault:
                raise BundleError(f"{source}: its {section} {fault}. {remedy}")
    fault = _fault_of_model(tokenizer.get("model"))
    if fault:
        raise BundleError(f"{source}: its model {fault}. {remedy}")


def _parts(part: Any, inner: str) -> Iterator[Any]:
    """Yield a part and, at any depth, the parts of a sequence."""
    if part is None:
        return
    yield part
    below = part.get(inner) if isinstance(part, dict) else None
    for each in below if isinstance(below, list) else ():
        yield from _parts(each, inner)


def _fault_of_part(part: Any, types: list[str]) -> str | None:
    """Return what is wrong with one part, or None."""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in types:
        return f"has a part of type {quote(kind)}, which no known family uses"
    if "pattern" in part:
        fault = _fault_of_pattern(part["pattern"])
        if fault:
            return fault
    written = part.get("content" if kind == "Replace" else "prepend")
    if kind in ("Replace", "Prepend") and (not isinstance(written, str) or len(written) > 1):
        return f"writes {quote(written)} into the text, which is more than one character"
    return _fault_of_table(part.get("precompiled_charsmap")) if kind == "Precompiled" else None


def _fault_of_pattern(pattern: Any) -> str | None:
    if isinstance(pattern, dict) and len(pattern) == 1:
        kind, value = next(iter(pattern.items()))
        if kind == "Regex" and isinstance(value, str) and value in REGULAR_EXPRESSIONS:
            return None
        if kind == "String" and isinstance(value, str) and 0 < len(value) <= MAX_LITERAL_CHARACTERS:
            return None
        if kind == "Regex":
            return f"holds the regular expression {quote(value)}, which no known family uses"
    return f"holds the pattern {quote(pattern)}, which no known family uses"


def _fault_of_table(table: Any) -> str | None:
    """Return what is wrong with a SentencePiece table of replacements.

    It is the size of a trie as uint32, the trie, and the replacements, each ended by a zero byte
    (https://github.com/google/sentencepiece/blob/v0.2.0/src/normalizer.cc, `DecodePrecompiledCharsMap`).
    """
    try:
        data = base64.b64decode(table, validate=True) if isinstance(table, str) else b""
        (trie_bytes,) = struct.unpack_from("<I", data)
    except (binascii.Error, ValueError, struct.error):
        return "holds a table of replacements (precompiled_charsmap) that cannot be read"
    replacements = data[struct.calcsize("<I") + trie_bytes :].split(b"\0")
    longest = max(map(len, replacements))
    if longest > MAX_REPLACEMENT_BYTES:
        return f"replaces a character by {longest:,} bytes (precompiled_charsmap)"
    return None


def _fault_of_model(model: Any) -> str | None:
    if not isinstance(model, dict):
        return None  # is refused where the vocabulary is looked at
    longest_word = model.get("max_input_chars_per_word", 0)
    if type(longest_word) is not int or not 0 <= longest_word <= MAX_WORD_CHARACTERS:
        return f"divides words of {quote(longest_word)} characters, more than {MAX_WORD_CHARACTERS}"
    if model.get("dropout"):
        return f"leaves out merges at random (dropout = {quote(model['dropout'])})"
    pieces = model.get("vocab")
    if model.get("type") == "Unigram" and isinstance(pieces, list):
        for piece in pieces:
            text = piece[0] if isinstance(piece, list) and piece else None
            if not isinstance(text, str) or len(text) > MAX_UNIGRAM_CHARACTERS:
                return f"has the piece {quote(piece)}, no text of up to {MAX_UNIGRAM_CHARACTERS} characters"
    return None
