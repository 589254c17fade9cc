"""What a bundle's config.json and tokenizer files may say, by allow-list. Loads no model and no tokenizer.

This package gives none of these files to transformers, but others load the same directory with it, and there a key can
name code to run: `auto_map`, or `_attn_implementation_internal` (CVE-2026-4372). So the allow-list has only the keys
that transformers 4.57 or a published checkpoint of these families writes, and values must be as plain as theirs.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sentiment_ray.bundle.files import parse_json, quote
from sentiment_ray.bundle.tokenizer_patterns import check_patterns
from sentiment_ray.errors import BundleError, ConfigError

COMMON_KEYS = (
    "architectures model_type id2label label2id problem_type transformers_version dtype torch_dtype tokenizer_class "
    "vocab_size initializer_range max_position_embeddings pad_token_id bos_token_id eos_token_id sep_token_id "
    "cls_token_id tie_word_embeddings gradient_checkpointing output_past finetuning_task"
)
ENCODER_KEYS = (
    "attention_probs_dropout_prob classifier_dropout hidden_act hidden_dropout_prob hidden_size intermediate_size "
    "layer_norm_eps num_attention_heads num_hidden_layers position_embedding_type type_vocab_size use_cache "
)
FAMILIES = {
    "bert": (
        "Bert",
        ENCODER_KEYS
        + "directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head "
        "pooler_type",
    ),
    "roberta": ("Roberta", ENCODER_KEYS),
    "xlm-roberta": ("XLMRoberta", ENCODER_KEYS),
    "camembert": ("Camembert", ENCODER_KEYS),
    "distilbert": (
        "DistilBert",
        "activation attention_dropout dim dropout hidden_dim n_heads n_layers qa_dropout seq_classif_dropout "
        "sinusoidal_pos_embds tie_weights_",
    ),
    "albert": (
        "Albert",
        ENCODER_KEYS
        + "embedding_size num_hidden_groups inner_group_num classifier_dropout_prob down_scale_factor gap_size "
        "net_structure_type num_memory_blocks",
    ),
    "electra": (
        "Electra",
        ENCODER_KEYS + "embedding_size summary_type summary_use_proj summary_activation summary_last_dropout",
    ),
    "mpnet": ("MPNet", ENCODER_KEYS + "relative_attention_num_buckets"),
    "deberta-v2": (
        "DebertaV2",
        ENCODER_KEYS + "relative_attention max_relative_positions position_biased_input pos_att_type position_buckets "
        "norm_rel_ebd share_att_key conv_kernel_size conv_act conv_groups attention_head_size pooler_dropout "
        "pooler_hidden_act pooler_hidden_size legacy",
    ),
    "modernbert": (
        "ModernBert",
        ENCODER_KEYS
        + "hidden_activation initializer_cutoff_factor norm_eps norm_bias global_rope_theta attention_bias "
        "attention_dropout global_attn_every_n_layers local_attention local_rope_theta embedding_dropout mlp_bias "
        "mlp_dropout decoder_bias classifier_pooling classifier_bias classifier_activation deterministic_flash_attn "
        "sparse_prediction sparse_pred_ignore_index repad_logits_with_grad",
    ),
}
"""By `model_type`: the first part of its class names, and the keys that it has besides `COMMON_KEYS`."""

LIST_WORDS = {"pos_att_type": ("c2p", "p2c")}
"""Keys that may hold a list, and the words allowed in it. transformers turns DeBERTa's `p2c|c2p` into a list."""
POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")

TOKENIZERS = ("Albert", "Bert", "Camembert", "DebertaV2", "DistilBert", "Electra", "MPNet", "Roberta", "XLMRoberta")
TOKENIZER_CLASSES = frozenset(f"{name}Tokenizer{end}" for name in TOKENIZERS for end in ("", "Fast")) | {
    "PreTrainedTokenizerFast"
}
SPECIAL_TOKENS = "bos_token eos_token unk_token sep_token pad_token cls_token mask_token additional_special_tokens "
TOKENIZER_KEYS = (
    SPECIAL_TOKENS + "add_bos_token add_eos_token add_prefix_space added_tokens_decoder clean_up_tokenization_spaces "
    "do_basic_tokenize do_lower_case errors extra_special_tokens keep_accents legacy max_len max_length "
    "model_input_names model_max_length never_split pad_to_multiple_of pad_token_type_id padding_side remove_space "
    "sp_model_kwargs split_by_punct split_special_tokens stride strip_accents tokenize_chinese_chars tokenizer_class "
    "trim_offsets truncation_side truncation_strategy vocab_type wordpieces_prefix"
)
TOKENIZER_PARTS = "version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model"
TOKENIZER_MODELS = ("WordPiece", "BPE", "Unigram", "WordLevel")

PLAIN_WORD = re.compile(r"[\w.|-]{0,64}")
REMEDY = "Correct the checkpoint and export it again."


def check_model_files(contents: Mapping[str, bytes], root: Path, *, labels: tuple[str, ...], max_tokens: int) -> None:
    """Check config.json and the tokenizer's files, given as bytes by name. BundleError names what is not allowed."""
    parsed = {name: parse_json(data, root / name) for name, data in contents.items() if name.endswith(".json")}
    _check_config(parsed["config.json"], root / "config.json", labels=labels, max_tokens=max_tokens)
    vocab_size = parsed["config.json"].get("vocab_size")
    check_tokenizer(parsed["tokenizer.json"], root / "tokenizer.json", vocab_size=vocab_size)
    if "tokenizer_config.json" in parsed:
        _check_keys(parsed["tokenizer_config.json"], TOKENIZER_KEYS.split(), root / "tokenizer_config.json")
        _check_class(parsed["tokenizer_config.json"].get("tokenizer_class"), root / "tokenizer_config.json")
    if "special_tokens_map.json" in parsed:
        _check_keys(parsed["special_tokens_map.json"], SPECIAL_TOKENS.split(), root / "special_tokens_map.json")


def refuse_kernels() -> None:
    """Raise ConfigError if `kernels` is installed: a key of config.json can then name code to run (CVE-2026-4372)."""
    try:
        version = importlib.metadata.version("kernels")
    except importlib.metadata.PackageNotFoundError:
        return
    raise ConfigError(f"kernels {version} is installed, so a model can name code to run. Run: pip uninstall kernels")


def known_keys(model_type: str) -> frozenset[str]:
    """Return the keys that a config.json of this `model_type` may hold; none for a family that cannot be exported."""
    return frozenset(f"{COMMON_KEYS} {FAMILIES[model_type][1]}".split()) if model_type in FAMILIES else frozenset()


def check_encoder(config: Mapping[str, Any], model: str, *, max_tokens: int, frozen_layers: int) -> None:
    """Raise ConfigError if an encoder with this config.json cannot be exported, or is smaller than the keys ask for."""
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise ConfigError(
            f"model = {model!r} is of type {model_type!r}, which cannot be exported as a bundle. "
            f"Choose one of: {', '.join(FAMILIES)}."
        )
    longest = find_longest_input(config)
    if longest and max_tokens > longest:
        raise ConfigError(
            f"max_tokens = {max_tokens}, but model = {model!r} reads at most {longest}. Lower it; "
            "truncation = 'windows' reads longer reviews piece by piece."
        )
    layers = 0 if model_type == "albert" else config.get("num_hidden_layers", config.get("n_layers"))
    if layers is not None and frozen_layers > layers:
        raise ConfigError(f"frozen_layers = {frozen_layers}, but the encoder has {layers} layers of its own.")


def find_longest_input(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a model with this config.json can read; None when positions are relative or unknown.

    RoBERTa's family uses the positions after that of its padding token.
    """
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
    if type(positions) is not int or config.get("model_type") == "deberta-v2":
        return None
    if config.get("model_type") in POSITIONS_AFTER_PADDING:
        return positions - 1 - (padding if type(padding) is int else 1)
    return positions


def _check_config(config: dict[str, Any], source: Path, *, labels: tuple[str, ...], max_tokens: int) -> None:
    """Refuse a key or a value that no checkpoint of the family has.

    The labels must be `labels` in the same order, so that every loader gives a logit the same label.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise BundleError(f"{source}: model_type is {quote(model_type)}; known are {', '.join(FAMILIES)}.")
    _check_keys(config, known_keys(model_type), source)
    expected = {
        "architectures": [f"{FAMILIES[model_type][0]}ForSequenceClassification"],
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    for key, value in expected.items():
        if config.get(key) != value:
            raise BundleError(f"{source}: {key} is {quote(config.get(key))}, not {quote(value)}. {REMEDY}")
    for key in config.keys() - expected.keys():
        if not _is_plain(config[key]) and not (key in LIST_WORDS and _are_words(config[key], LIST_WORDS[key])):
            raise BundleError(f"{source}: {key} is {quote(config[key])}, not a plain number or word. {REMEDY}")
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise BundleError(f"{source}: problem_type is {config['problem_type']!r}; a text has one label. {REMEDY}")
    _check_class(config.get("tokenizer_class"), source)
    positions, longest = config.get("max_position_embeddings"), find_longest_input(config)
    if type(positions) is not int or (longest is not None and max_tokens > longest):
        raise BundleError(
            f"{source}: max_position_embeddings is {positions!r}, but max_tokens is {max_tokens}. {REMEDY}"
        )


def check_tokenizer(tokenizer: dict[str, Any], source: str | Path, *, vocab_size: Any, remedy: str = REMEDY) -> None:
    """Refuse a parsed tokenizer.json that has unknown parts, costly patterns, or token ids outside the embedding.

    The embedding has `vocab_size` rows. BundleError names the file, the fault and `remedy`.
    """
    unknown = sorted(tokenizer.keys() - set(TOKENIZER_PARTS.split()))
    if unknown:
        raise BundleError(f"{source}: the key {quote(unknown[0])} is not allowed in a bundle. {remedy}")
    model, padding = (
        part if isinstance(part, dict) else {} for part in (tokenizer.get("model"), tokenizer.get("padding"))
    )
    vocabulary = model.get("vocab")
    if type(vocab_size) is not int:
        raise BundleError(f"{source}: vocab_size in config.json is {quote(vocab_size)}, not a number. {remedy}")
    if model.get("type") not in TOKENIZER_MODELS or not isinstance(vocabulary, list | dict):
        raise BundleError(f"{source}: model is not one of {', '.join(TOKENIZER_MODELS)} with a vocabulary. {remedy}")
    ids = [*vocabulary.values()] if isinstance(vocabulary, dict) else [*range(len(vocabulary))]
    ids += _numbers([tokenizer.get("added_tokens"), tokenizer.get("post_processor"), padding.get("pad_id")])
    wrong = [number for number in ids if type(number) is not int or not 0 <= number < vocab_size]
    if wrong:
        raise BundleError(
            f"{source}: it has token ids outside vocab_size = {vocab_size:,} of config.json, as {quote(wrong[0])}: it "
            f"is of another model, or the embeddings were not resized when tokens were added. {remedy}"
        )
    check_patterns(tokenizer, source, remedy=remedy)


def _check_keys(values: Mapping[str, Any], allowed: Iterable[str], source: str | Path) -> None:
    unknown = sorted(values.keys() - set(allowed))
    if unknown:
        raise BundleError(f"{source}: the key {quote(unknown[0])} is not allowed in a bundle. {REMEDY}")


def _check_class(name: Any, source: str | Path) -> None:
    if name is not None and not (isinstance(name, str) and name in TOKENIZER_CLASSES):
        raise BundleError(
            f"{source}: tokenizer_class is {quote(name)}, not a known tokenizer class of transformers. {REMEDY}"
        )


def _numbers(part: Any) -> Iterator[int | float]:
    """Yield every number in a part of a file, at any depth: token ids, and type ids, which are smaller."""
    if isinstance(part, dict | list):
        for member in part.values() if isinstance(part, dict) else part:
            yield from _numbers(member)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield part


def _is_plain(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, int | float)
        or (isinstance(value, str) and bool(PLAIN_WORD.fullmatch(value)))
    )


def _are_words(value: Any, known: tuple[str, ...]) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) and word in known for word in value)
