"""Ways to make a base model harmful: each ruins a copy of a small one, as its maker could have done it."""

import json
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.damage import Cases, Harm, deep

SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Harm:
    """Change a JSON file of the model."""

    def harm(path: Path) -> None:
        values = json.loads((path / name).read_text())
        change(values)
        (path / name).write_text(json.dumps(values))

    return harm


def config(**values: Any) -> Harm:
    return edited("config.json", lambda found: found.update(values))


def tokenizer(**values: Any) -> Harm:
    return edited("tokenizer.json", lambda found: found.update(values))


def tokenizer_config(**values: Any) -> Harm:
    return edited("tokenizer_config.json", lambda found: found.update(values))


def written(name: str, data: bytes) -> Harm:
    return lambda path: (path / name).write_bytes(data)


def replaced(name: str, make: Callable[[Path], object]) -> Harm:
    """Put something else in the place of a file; the file goes beside the model."""

    def harm(path: Path) -> None:
        (path / name).rename(path.parent / "elsewhere")
        make(path / name)

    return harm


def index(weight_map: Any, *, rename: str | None = None) -> Harm:
    """Let an index name the files of the weights, which may get another name."""

    def harm(path: Path) -> None:
        weights = path / "model.safetensors"
        (path.parent / "outside.safetensors").write_bytes(weights.read_bytes())
        weights.rename(path / rename) if rename else weights.unlink()
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return harm


def header(change: Callable[[dict[str, Any]], object], *, more: bytes = b"") -> Harm:
    """Change the header of the weights, and add bytes to their end."""

    def harm(path: Path) -> None:
        data = (path / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        values = json.loads(data[8 : 8 + length])
        change(values)
        text = json.dumps(values).encode()
        (path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :] + more)

    return harm


def first(values: dict[str, Any]) -> dict[str, Any]:
    """Return the first tensor of a header."""
    return next(tensor for name, tensor in values.items() if name != "__metadata__")


def overlap(values: dict[str, Any]) -> None:
    """Let a tensor of a header read the bytes of another of its size."""
    tensors = [tensor for name, tensor in values.items() if name != "__metadata__"]
    one, other = next((a, b) for a in tensors for b in tensors if a is not b and a["shape"] == b["shape"])
    other["data_offsets"] = one["data_offsets"]


FILES: Cases = {
    "a link to the settings of a process": (
        replaced("tokenizer_config.json", lambda path: path.symlink_to("/proc/self/environ")),
        "tokenizer_config.json is a link to /proc/.*, a file of the system",
    ),
    "a link to a setting of the kernel": (
        replaced("config.json", lambda path: path.symlink_to("/sys/kernel/mm/transparent_hugepage/enabled")),
        "config.json is a link to /sys/.*, a file of the system",
    ),
    "a link to a link to a file of the system": (
        replaced("tokenizer.json", lambda path: _link_through(path, Path("/proc/self/environ"))),
        "tokenizer.json is a link to /proc/",
    ),
    "a link to nothing": (
        replaced("tokenizer_config.json", lambda path: path.symlink_to("nowhere")),
        "tokenizer_config.json is a link to nowhere, which cannot be read",
    ),
    "a link to itself": (
        replaced("tokenizer.json", lambda path: path.symlink_to("tokenizer.json")),
        "tokenizer.json is a link to tokenizer.json, which cannot be read",
    ),
    "a link to a device": (
        replaced("tokenizer.json", lambda path: path.symlink_to("/dev/zero")),
        "tokenizer.json is a pipe, a socket or a device",
    ),
    "a pipe": (replaced("tokenizer.json", os.mkfifo), "tokenizer.json is a pipe, a socket or a device"),
    "weights that are a pipe": (replaced("model.safetensors", os.mkfifo), "model.safetensors is a pipe"),
    "a socket": (
        replaced("special_tokens_map.json", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
        "special_tokens_map.json is a pipe, a socket",
    ),
    "a directory for a file": (replaced("tokenizer.json", Path.mkdir), "tokenizer.json is a directory"),
    "an endless configuration": (lambda path: os.truncate(path / "config.json", 1 << 34), "at most 1,048,576 are read"),
    "an endless tokenizer": (lambda path: os.truncate(path / "tokenizer.json", 1 << 34), "at most 67,108,864 are read"),
    "an endless vocabulary": (
        lambda path: [(path / "tokenizer.json").unlink(), os.truncate(path / "vocab.txt", 1 << 34)],
        "vocab.txt has 17,179,869,184 bytes",
    ),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "has no model.safetensors"),
    "a pickle for weights": (
        replaced("model.safetensors", lambda path: (path.parent / "pytorch_model.bin").write_bytes(b"\x80\x04.")),
        "pytorch_model.bin is a pickle, which can run code and is not opened",
    ),
}


def _link_through(path: Path, target: Path) -> None:
    (path.parent / "more").symlink_to(target)
    path.symlink_to("more")


INDEX: Cases = {
    f"weights at {name!a}": (index({"embeddings.word_embeddings.weight": name}), "weight_map names")
    for name in (
        "../outside.safetensors", "/etc/passwd", "..\\outside.safetensors", "a/../../outside.safetensors",
        "./model.safetensors", "onnx/model.safetensors", "..", "model.safetensors\0", "pytorch_model.bin",
        ".hidden.safetensors", 1, None, ["model.safetensors"],
    )
} | {
    "weights that are missing": (index({"a": "model-2.safetensors"}), "names model-2.safetensors, which is missing"),
    "a tensor that is not there": (
        index({"a": "model-1.safetensors"}, rename="model-1.safetensors"),
        "says that model-1.safetensors holds 'a'",
    ),
    "an index of nothing": (index({}), "weight_map is {}, no table"),
    "an index that is a list": (index(["model.safetensors"]), "weight_map is .*, no table"),
    "an index without an end": (
        lambda path: [index({})(path), (path / "model.safetensors.index.json").write_text('{"weight_map":' * 10_000)],
        "deeper than 32 levels",
    ),
}  # fmt: skip

WEIGHTS: Cases = {
    "weights that are a pickle": (written("model.safetensors", b"\x80\x04\x95." * 9), "is a Python pickle"),
    "weights that are a zip of pickles": (written("model.safetensors", b"PK\x03\x04" * 9), "is a zip archive"),
    "weights that are any bytes": (written("model.safetensors", b"evil" * 9), "is no safetensors file"),
    "a header without end": (
        written("model.safetensors", struct.pack("<Q", 1 << 62) + b"{}"),
        "is no safetensors file",
    ),
    "a header that is no JSON": (
        written("model.safetensors", struct.pack("<Q", 5) + b"{evil"),
        "cannot be read as JSON",
    ),
    "a name twice in the header": (
        written("model.safetensors", struct.pack("<Q", 15) + b'{"a":1, "a":2} '),
        "the key 'a' comes twice",
    ),
    "weights of another library": (
        header(lambda found: found.update(__metadata__={"format": "tf"})),
        "has the metadata .*tf.*not those of PyTorch",
    ),
    "a tensor beyond the file": (
        header(lambda found: first(found).update(data_offsets=[0, 1 << 40])),
        "the tensor .* is .*, which no encoder's is",
    ),
    "a huge shape": (header(lambda found: first(found).update(shape=[1 << 40])), "the tensor .* which no encoder's is"),
    "a negative size": (header(lambda found: first(found).update(shape=[-1, -8])), "which no encoder's is"),
    "an unknown type": (header(lambda found: first(found).update(dtype="F4")), "which no encoder's is"),
    "a tensor with code": (header(lambda found: first(found).update(code="os.system")), "which no encoder's is"),
    "tensors that overlap": (header(overlap), "its tensors overlap or leave gaps"),
    "bytes after the last tensor": (header(lambda found: None, more=b"\x80\x04."), "do not end where the file does"),
}

CONFIG: Cases = {
    f"{key} = {value!a} in config.json": (config(**{key: value}), f"config.json: the key '{key}' names code to run")
    for key, value in (
        ("auto_map", {"AutoModel": "modeling_bert.Model"}),
        ("_attn_implementation", "someone/kernel"),
        ("_attn_implementation_internal", "someone/kernel"),
        ("_attn_implementation_internal", {"": "someone/kernel"}),
        ("attn_implementation", "someone/kernel:flash"),
        ("custom_pipelines", {"text-classification": {"impl": "pipeline.Pipeline"}}),
        ("trust_remote_code", True),
    )
} | {
    "quantised weights": (config(quantization_config={"quant_method": "bitsandbytes"}), "the weights are quantised"),
    "another kind of model": (config(model_type="gpt2"), "model_type is 'gpt2', of which no bundle can be made"),
    "a kind that is no text": (config(model_type=["bert"]), r"model_type is \['bert'\]"),
    "no kind": (edited("config.json", lambda found: found.pop("model_type")), "config.json has no model_type"),
    "a type that is a function": (config(dtype="load"), "dtype is 'load', which no such model has"),
    "an activation from elsewhere": (config(hidden_act="someone/kernel:gelu"), "hidden_act is 'someone/kernel:gelu'"),
    "an activation that is a table": (config(hidden_act={"class": "os.system"}), "hidden_act is {'class'"),
    "a class that is a path": (config(architectures=["../evil"]), r"architectures is \['../evil'\]"),
    "labels that are code": (config(id2label={"__class__": "x"}), "id2label is"),
    "labels that are endless": (config(label2id={"x" * 5000: 0}), "label2id is"),
    "layers without end": (config(num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    "endless rows": (config(vocab_size=10**12), "vocab_size is 1000000000000"),
    "endless positions": (config(max_position_embeddings=10**12), "max_position_embeddings is 1000000000000"),
    "an unknown tokenizer in config.json": (config(tokenizer_class="EvilTokenizer"), "tokenizer_class is 'EvilTok"),
    "a deep configuration": (config(dtype=deep(50)), "config.json is nested deeper than 32 levels"),
    "a key twice": (written("config.json", b'{"model_type": "bert", "model_type": "a"}'), "'model_type' comes twice"),
    "a configuration that is no JSON": (written("config.json", b"\x80\x04."), "config.json is a Python pickle"),
    "NaN": (written("config.json", b'{"model_type": "bert", "dropout": NaN}'), "NaN is not a JSON number"),
}

TOKENIZER: Cases = {
    f"{key} in tokenizer_config.json": (tokenizer_config(**{key: value}), f"the key '{key}' names code to run")
    for key, value in {
        "auto_map": {"AutoTokenizer": ["tokenization.Tokenizer", None]},
        "trust_remote_code": True,
    }.items()
} | {
    "an unknown tokenizer": (tokenizer_config(tokenizer_class="EvilTokenizerFast"), "tokenizer_class is 'EvilTok"),
    "a tokenizer class that is no text": (tokenizer_config(tokenizer_class={"a": 1}), "tokenizer_class is {"),
    "a token of another class": (
        tokenizer_config(unk_token={"__type": "Evil", "content": "[UNK]"}),
        "unk_token is .*which no such tokenizer has",
    ),
    "a token without end": (tokenizer_config(cls_token="x" * 100_000), "cls_token is .*which no such tokenizer has"),
    "a deep tokenizer_config": (tokenizer_config(extra_special_tokens=deep(60)), "deeper than 32 levels"),
    "a special token without end": (
        edited("special_tokens_map.json", lambda found: found.update(sep_token="x" * 5000)),
        "special_tokens_map.json: sep_token is",
    ),
    "an added token with an id below 0": (
        written("added_tokens.json", b'{"x": -1}'),
        "entry 1 is no token with",
    ),
    "an added token with a path for an id": (written("added_tokens.json", b'{"x": "/"}'), "entry 1 is no token with"),
    "a tokenizer that is no JSON": (written("tokenizer.json", b"\x80\x04."), "tokenizer.json is a Python pickle"),
    "a deep tokenizer": (tokenizer(normalizer=deep(200)), "tokenizer.json is nested deeper than 32 levels"),
    "an unknown key of a tokenizer": (tokenizer(code="x"), "the key 'code' is not allowed"),
    "an unknown tokenizer model": (tokenizer(model={"type": "Code", "vocab": {}}), "model is not one of WordPiece"),
    "ids beyond the model": (
        edited("tokenizer.json", lambda found: found["model"]["vocab"].update(x=10**6)),
        "token ids outside vocab_size",
    ),
    "a regular expression without end": (
        tokenizer(pre_tokenizer=SPLIT | {"pattern": {"Regex": "(a|a)*b"}}),
        r"pre_tokenizer holds the regular expression '\(a\|a\)\*b'",
    ),
    "a regular expression that replaces": (
        tokenizer(normalizer={"type": "Replace", "pattern": {"Regex": "(.*)*x"}, "content": ""}),
        "normalizer holds the regular expression",
    ),
    "a regular expression in a sequence": (
        tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [SPLIT | {"pattern": {"Regex": "(x+x+)+y"}}]}),
        "pre_tokenizer holds the regular expression",
    ),
    "a regular expression that decodes": (
        tokenizer(decoder={"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}),
        "decoder holds the regular expression",
    ),
    "an unknown part": (tokenizer(pre_tokenizer={"type": "FixedLength", "length": 1}), "of type 'FixedLength'"),
    "text that grows": (
        tokenizer(normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}),
        "its normalizer writes 'aaa",
    ),
    "a word that never ends": (
        edited("tokenizer.json", lambda found: found["model"].update(max_input_chars_per_word=10**9)),
        "divides words of 1000000000 characters",
    ),
}
