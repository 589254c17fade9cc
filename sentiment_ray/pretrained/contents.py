"""What the JSON files of a model may say: keys and values that are known are kept, and what names code is refused.

transformers acts on keys of these files: `auto_map` and `_attn_implementation` name code to run, `chat_template` gives
names to files that it writes. Other unknown keys, which published models hold in plenty, are left out.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.files import quote
from sentiment_ray.bundle.model_config import (
    FAMILIES,
    LIST_WORDS,
    PLAIN_WORD,
    SPECIAL_TOKENS,
    TOKENIZER_CLASSES,
    TOKENIZER_KEYS,
    known_keys,
)
from sentiment_ray.errors import ConfigError
from sentiment_ray.file_content import START_BYTES, describe_content
from sentiment_ray.pretrained.model_files import REMEDY, WEIGHTS_FILE

NAMES_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
ATTENTION = re.compile(r"_?attn_implementation.*")
KNOWN_ATTENTION = (None, True, False, "eager", "sdpa", "flash_attention_2")
"""What transformers itself has written under a key of `ATTENTION`; anything else names a kernel to download."""
DTYPES = (None, "float64", "float32", "float16", "bfloat16")
LAYERS = ("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num")
MAX_LAYERS, MAX_NUMBER = 1000, 1 << 22
MAX_STRING = 1000
UNKNOWN_PIECES = frozenset(("[UNK]", "<unk>"))
"""One of these is in every vocab.txt, so that a file which is none, to which a link may lead, is not taken for one."""
RENAMED_CLASSES = {"TokenizersBackend": "PreTrainedTokenizerFast"}
"""Names that transformers 5 gave to classes of transformers 4."""


def clean_config(config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return what is kept of a config.json; ConfigError for another kind of model, for code, and for odd values.

    `problem_type` is left out: a text has one label here.
    """
    if "model_type" not in config:
        raise ConfigError(f"{source} has no model_type, so it is no configuration of a model. {REMEDY}")
    kind = config["model_type"]
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ConfigError(
            f"{source}: model_type is {quote(kind)}, of which no bundle can be made. "
            f"Choose an encoder of one of the families {', '.join(FAMILIES)}."
        )
    _refuse_code(config, source)
    if config.get("is_decoder") or config.get("is_encoder_decoder"):
        raise ConfigError(f"{source}: is_decoder says that the model writes text. Choose an encoder, which reads it.")
    kept = {key: config[key] for key in config if key in known_keys(kind) and key != "problem_type"}
    for key, value in kept.items():
        if not _is_known_value(key, value):
            raise ConfigError(f"{source}: {key} is {quote(value)}, which no such model has. {REMEDY}")
    return _with_known_class(kept, source)


def clean_tokenizer_config(values: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return what is kept of a tokenizer_config.json; ConfigError for code, an unknown class, and odd values."""
    _refuse_code(values, source)
    kept = {key: values[key] for key in values if key in TOKENIZER_KEYS.split()}
    if isinstance(kept.get("extra_special_tokens"), list):  # as transformers 5 writes them, which 4.57 cannot read
        del kept["extra_special_tokens"]
    _check_token_values(kept, source)
    return _with_known_class(kept, source)


def clean_special_tokens(values: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return what is kept of a special_tokens_map.json; ConfigError for odd values."""
    kept = {key: values[key] for key in values if key in SPECIAL_TOKENS.split()}
    _check_token_values(kept, source)
    return kept


def check_added_tokens(values: Mapping[str, Any], source: Path) -> dict[str, int]:
    """Return an added_tokens.json, ids by token; ConfigError when an id is none."""
    for number, (token, token_id) in enumerate(values.items(), start=1):
        if len(token) > MAX_STRING or type(token_id) is not int or not 0 <= token_id < MAX_NUMBER:
            raise ConfigError(f"{source}: entry {number} is no token with its id. {REMEDY}")
    return dict(values)


def check_vocabulary(data: bytes, source: Path, *, vocab_size: Any) -> None:
    """Refuse a vocab.txt that is no list of word pieces, or has more than the embedding's rows, `vocab_size`."""
    lines = _decode_lines(data, source)
    if not UNKNOWN_PIECES & set(lines):
        raise ConfigError(f"{source} is no vocabulary: it has no line {' or '.join(sorted(UNKNOWN_PIECES))}. {REMEDY}")
    if type(vocab_size) is int and len(lines) > vocab_size:
        raise ConfigError(
            f"{source} has {len(lines):,} tokens, so it has token ids outside vocab_size = {vocab_size:,} of "
            f"config.json. {REMEDY}"
        )


def check_merges(merges: bytes, source: Path, vocabulary: Mapping[str, Any], *, vocab_size: Any) -> None:
    """Refuse a merges.txt unless each line joins two tokens of vocab.json, whose ids are below `vocab_size`."""
    limit = vocab_size if type(vocab_size) is int else MAX_NUMBER
    for number, token_id in enumerate(vocabulary.values(), start=1):
        if type(token_id) is not int or not 0 <= token_id < limit:
            raise ConfigError(
                f"{source.with_name('vocab.json')}: entry {number} has a token id outside vocab_size = {limit:,} of "
                f"config.json, or is no token with its id. {REMEDY}"
            )
    for number, line in enumerate(_decode_lines(merges, source), start=1):
        parts = line.split(" ")
        if (number > 1 or not line.startswith("#version")) and (len(parts) != 2 or not set(parts) <= vocabulary.keys()):
            raise ConfigError(f"{source}: line {number} does not join two tokens of vocab.json. {REMEDY}")


def check_added_ids(ids: Iterable[int], source: Path, *, vocab_size: Any) -> None:
    """Refuse ids of added tokens outside the embedding's `vocab_size` rows."""
    largest = max(ids, default=0)
    if type(vocab_size) is int and largest >= vocab_size:
        raise ConfigError(
            f"{source}: it has token ids outside vocab_size = {vocab_size:,} of config.json, as {largest:,}. {REMEDY}"
        )


def check_index(index: Mapping[str, Any], source: Path, present: Collection[str]) -> dict[str, str]:
    """Return the file of each tensor by a model.safetensors.index.json; `present` are the files beside it.

    ConfigError for a name that leaves the directory, and for a file that is missing.
    """
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"{source}: weight_map is {quote(weight_map)}, no table of tensors and files. {REMEDY}")
    for name in weight_map.values():
        if not isinstance(name, str) or not WEIGHTS_FILE.fullmatch(name):
            raise ConfigError(f"{source}: weight_map names {quote(name)}, no *.safetensors file beside it. {REMEDY}")
        if name not in present:
            raise ConfigError(f"{source}: weight_map names {name}, which is missing. Download it as well.")
    return dict(weight_map)


def _decode_lines(data: bytes, source: Path) -> list[str]:
    """Return the lines of a text file without their ends, and without empty ones at its end."""
    description = describe_content(data[:START_BYTES])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        description = description or f"is not text in UTF-8. {REMEDY}"
    if description:
        raise ConfigError(f"{source} {description}")
    return [line.rstrip("\r") for line in text.rstrip("\r\n").split("\n")]


def _refuse_code(values: Mapping[str, Any], source: Path) -> None:
    for key, value in values.items():
        if key in NAMES_CODE or (ATTENTION.fullmatch(key) and value not in KNOWN_ATTENTION):
            raise ConfigError(f"{source}: the key {key!r} names code to run ({quote(value)}). Choose another model.")
    if values.get("quantization_config"):
        raise ConfigError(f"{source}: the weights are quantised (quantization_config). Choose the model before that.")


def _with_known_class(values: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return the keys of a file, its tokenizer class one of transformers 4."""
    name = values.get("tokenizer_class")
    if name is None:
        return values
    known = RENAMED_CLASSES.get(name, name) if isinstance(name, str) else None
    if known not in TOKENIZER_CLASSES:
        raise ConfigError(
            f"{source}: tokenizer_class is {quote(name)}, of which no bundle can be made. "
            "Where tokenizer.json is there, PreTrainedTokenizerFast reads it as well."
        )
    return values | {"tokenizer_class": known}


def _is_known_value(key: str, value: Any) -> bool:
    """Whether a value of config.json is as plain and as small as those of published models."""
    if key in ("dtype", "torch_dtype"):
        return value in DTYPES
    if key == "architectures":
        return value is None or (isinstance(value, list) and all(map(_is_word, value)))
    if key == "id2label" and isinstance(value, dict):
        return all(_is_label(label, label_id) for label_id, label in value.items())
    if key == "label2id" and isinstance(value, dict):
        return all(_is_label(label, label_id) for label, label_id in value.items())
    if key in LIST_WORDS and isinstance(value, list):
        return all(word in LIST_WORDS[key] for word in value)
    if isinstance(value, int):
        return abs(value) <= (MAX_LAYERS if key in LAYERS else MAX_NUMBER)
    return value is None or isinstance(value, float) or _is_word(value)


def _is_label(label: Any, label_id: Any) -> bool:
    return isinstance(label, str) and len(label) <= MAX_STRING and str(label_id).isdecimal()


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(PLAIN_WORD.fullmatch(value))


def _check_token_values(values: Mapping[str, Any], source: Path) -> None:
    """Refuse a long string, and a table that transformers would turn into anything but a token."""
    for key, value in values.items():
        level = [value]
        while level:
            item = level.pop()
            if isinstance(item, dict):
                level += [*item, *(item[name] for name in item if name != "__type")]
            if isinstance(item, list):
                level += item
            too_long = isinstance(item, str) and len(item) > MAX_STRING
            if too_long or (isinstance(item, dict) and item.get("__type", "AddedToken") != "AddedToken"):
                raise ConfigError(f"{source}: {key} is {quote(value)}, which no such tokenizer has. {REMEDY}")
