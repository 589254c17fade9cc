"""Models as they break without anybody's ill will: pointers, halves, other formats, parts that do not fit together.

Each entry changes a copy of a small BERT, and has the pattern of the message that must name it.
"""

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.hostile.base_models import edited, header, replaced, written
from tests.hostile.damage import Cases, Harm

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 90868376\n" % (b"0" * 64)
ANNEX_POINTER = b"/annex/objects/SHA256E-s90868376--" + b"0" * 64 + b".safetensors\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>"
INDEX_NAME = "model.safetensors.index.json"
EMBEDDINGS = "embeddings.word_embeddings.weight"


def cut(name: str, share: float = 0.5) -> Harm:
    """Leave the beginning of a file, as a download that broke off does."""

    def harm(path: Path) -> None:
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: int(len(data) * share)])

    return harm


def without(*names: str) -> Harm:
    return lambda path: [(path / name).unlink(missing_ok=True) for name in names]


def directory_with(name: str) -> Harm:
    """Leave a directory with one empty file."""
    return lambda path: [shutil.rmtree(path), path.mkdir(), (path / name).touch()]


def only_other_weights(*names: str) -> Harm:
    """Put weights of another format in the place of the model's."""

    def harm(path: Path) -> None:
        (path / "model.safetensors").unlink()
        for name in names:
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_bytes(b"\x80\x04.")

    return harm


def weights(change: Callable[[dict[str, Any]], object]) -> Harm:
    """Change the tensors of the weights."""

    def harm(path: Path) -> None:
        tensors = load_file(path / "model.safetensors")
        change(tensors)
        save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})

    return harm


def put(name: str, value: float) -> Harm:
    """Put a number into the middle of a tensor."""

    def change(tensors: dict[str, Any]) -> None:
        flat = tensors[name].reshape(-1)
        flat[flat.size // 2] = value

    return weights(change)


def quantised(tensors: dict[str, Any]) -> None:
    tensors[EMBEDDINGS] = tensors[EMBEDDINGS].astype(np.int8)


def sharded(path: Path) -> None:
    """Name two files in an index, of which one is there."""
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").rename(path / "model-00001-of-00002.safetensors")
    weight_map = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    weight_map["embeddings.LayerNorm.bias"] = "model-00002-of-00002.safetensors"
    (path / INDEX_NAME).write_text(json.dumps({"weight_map": weight_map}))


def moved(folder: str, *beside: str) -> Harm:
    """Put the whole model into a folder of its directory, and files beside it."""

    def harm(path: Path) -> None:
        path.rename(path.parent / "moved")
        (path / folder).parent.mkdir(parents=True)
        (path.parent / "moved").rename(path / folder)
        for name in beside:
            (path / name).write_text("{}")

    return harm


def unfinished(path: Path) -> None:
    (path / "model.safetensors").unlink()
    folder = path / ".cache/huggingface/download"
    folder.mkdir(parents=True)
    (folder / "aGVsbG8=.0123.incomplete").write_bytes(b"half")


def unfinished_in_the_hubs_cache(path: Path) -> None:
    moved("snapshots/" + "c" * 40)(path)
    (path / "blobs").mkdir()
    (path / "blobs/0123.incomplete").write_bytes(b"half")


def adapter(path: Path, *, with_config: bool) -> None:
    """Leave what PEFT saves."""
    (path / "model.safetensors").rename(path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "bert-base-uncased"}')
    if not with_config:
        (path / "config.json").unlink()


def only_vocabulary(text: bytes) -> Harm:
    return lambda path: [(path / "tokenizer.json").unlink(), (path / "vocab.txt").write_bytes(text)]


def byte_level_vocabulary(vocabulary: bytes, merges: bytes | None) -> Harm:
    def harm(path: Path) -> None:
        without("tokenizer.json", "vocab.txt")(path)
        (path / "vocab.json").write_bytes(vocabulary)
        if merges is not None:
            (path / "merges.txt").write_bytes(merges)

    return harm


def more_tokens(tokenizer: dict[str, Any]) -> None:
    tokenizer["added_tokens"].append({"id": 9999, "content": "[NEW]", "special": True} | dict.fromkeys(FLAGS, False))


FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


def huge(path: Path) -> None:
    """Let header and config.json describe embeddings of 2.3 GB, which are a hole in the file."""
    rows, data = 1 << 21, (path / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    values = json.loads(data[8 : 8 + length])
    last = max(tensor["data_offsets"][1] for name, tensor in values.items() if name != "__metadata__")
    values["embeddings.more.weight"] = {
        "dtype": "F32",
        "shape": [rows, 280],
        "data_offsets": [last, last + rows * 1120],
    }
    text = json.dumps(values).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data[8 + length :])
        file.truncate(8 + len(text) + last + rows * 1120)


UNREADABLE_MODEL = {"type": "BPE", "vocab": {"[UNK]": 0}, "merges": [["a"]]}
LFS = "pointer of Git LFS, not the file itself. Fetch it with: git lfs pull"
JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
BROKEN: Cases = {
    **{
        f"a pointer of Git LFS for {name}": (written(name, POINTER), f"{name} is a {LFS}")
        for name in (*JSON_FILES, "model.safetensors")
    },
    **{f"half of {name}": (cut(name), f"{name} is cut off") for name in ("config.json", "model.safetensors")},
    **{f"a web page for {name}": (written(name, PAGE), f"{name} is a web page") for name in (*JSON_FILES[:2],)},
    "a pointer of Git LFS for the only vocabulary": (only_vocabulary(POINTER), f"vocab.txt is a {LFS}"),
    "a web page for the only vocabulary": (only_vocabulary(PAGE), "vocab.txt is a web page"),
    "a pointer of git-annex": (written("model.safetensors", ANNEX_POINTER), "git annex get"),
    "a file of git-annex that is not here": (
        replaced("model.safetensors", lambda path: path.symlink_to("../.git/annex/objects/Xx/SHA256E-s9--0")),
        "model.safetensors is a link of git-annex to a file that is not here. Fetch it with: git annex get",
    ),
    "files of DVC that are not here": (
        lambda path: [(path / "model.safetensors").unlink(), (path / "model.safetensors.dvc").touch()],
        "is tracked by DVC. Fetch it with: dvc pull",
    ),
    "almost all of the weights": (cut("model.safetensors", 0.999), "model.safetensors is cut off: it has"),
    "a header that is cut off": (cut("model.safetensors", 0.004), "model.safetensors is cut off: it has"),
    "almost all of the tokenizer": (cut("tokenizer.json", 0.99), "tokenizer.json"),
    "an empty configuration": (written("config.json", b""), "config.json is empty"),
    "empty weights": (written("model.safetensors", b""), "model.safetensors is empty"),
    "zeros for weights": (written("model.safetensors", bytes(5000)), "model.safetensors holds only zeros"),
    "an answer of the Hub": (written("config.json", b"Entry not found"), "config.json is an error message of a server"),
    "a refusal of the Hub for the configuration": (
        written("config.json", b'{"error":"Access to model is restricted"}'),
        "config.json has no model_type, so it is no configuration of a model",
    ),
    "a refusal of the Hub": (
        written("tokenizer.json", b'{"error":"Invalid username or password."}'),
        "tokenizer.json: the key 'error' is not allowed",
    ),
    "compressed weights": (
        lambda path: (path / "model.safetensors").write_bytes(gzip.compress(b"x")),
        "model.safetensors is compressed with gzip",
    ),
    "a pickle with another name": (
        written("model.safetensors", b"PK\x03\x04" * 9),
        "model.safetensors is a zip archive",
    ),
    "a configuration with a byte order mark": (
        lambda path: (path / "config.json").write_bytes(b"\xef\xbb\xbf" + (path / "config.json").read_bytes()),
        "config.json begins with a byte order mark",
    ),
    "a configuration in UTF-16": (
        lambda path: (path / "config.json").write_text((path / "config.json").read_text(), encoding="utf-16"),
        "config.json is text in UTF-16",
    ),
    "a part of the weights is missing": (sharded, "names model-00002-of-00002.safetensors, which is missing"),
    "parts of the weights without an index": (
        lambda path: [
            sharded(path),
            (path / INDEX_NAME).unlink(),
            (path / "a.safetensors").touch(),
        ],
        "but no model.safetensors.index.json",
    ),
    "weights with another name": (
        lambda path: (path / "model.safetensors").rename(path / "weights.safetensors"),
        "has no model.safetensors, but weights.safetensors. Give it the name",
    ),
    "a download that has not finished": (unfinished, "a download that has not finished. Download it again"),
    "a pickle alone": (only_other_weights("pytorch_model.bin"), "pytorch_model.bin is a pickle.*save_pretrained"),
    "a checkpoint of torch alone": (only_other_weights("epoch-3.pt"), "epoch-3.pt is a pickle.*convert it once"),
    "several pickles": (
        only_other_weights("pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"),
        "is a pickle",
    ),
    "GGUF alone": (only_other_weights("model-q4_k_m.gguf"), "model-q4_k_m.gguf is a GGUF file"),
    "ONNX alone": (only_other_weights("onnx/model.onnx"), "onnx/ holds ONNX graphs"),
    "TensorFlow alone": (only_other_weights("tf_model.h5"), "tf_model.h5 is weights of TensorFlow.*from_tf=True"),
    "Flax alone": (only_other_weights("flax_model.msgpack"), "flax_model.msgpack is weights of Flax"),
    "OpenVINO alone": (only_other_weights("openvino_model.bin"), "openvino_model.bin is a graph of OpenVINO"),
    "MLX alone": (only_other_weights("weights.npz"), "weights.npz is weights of another library; take the model's"),
    "a saved model alone": (only_other_weights("saved_model/saved_model.pb"), "saved_model/ holds weights of TensorFl"),
    "an archive alone": (
        lambda path: [shutil.rmtree(path), path.mkdir(), (path / "model.tar.gz").touch()],
        "has no config.json. model.tar.gz is an archive. Unpack it",
    ),
    "an archive": (
        lambda path: [
            shutil.make_archive(str(path.parent / "packed"), "zip", path),
            shutil.rmtree(path),
            path.mkdir(),
            (path.parent / "packed.zip").rename(path / "model.zip"),
        ],
        "model.zip is an archive. Unpack it, and name the directory",
    ),
    "a configuration as a browser saves it again": (
        lambda path: (path / "config.json").rename(path / "config (1).json"),
        r"has no config.json, but config \(1\).json. If it is the same, give it that name",
    ),
    "a configuration with the name of Windows": (
        lambda path: (path / "config.json").rename(path / "config.json.txt"),
        "has no config.json, but config.json.txt. If it is the same, give it that name",
    ),
    "the Hub's cache as a whole": (
        lambda path: moved("models--a--b/snapshots/" + "c" * 40)(path),
        "is the Hub's cache of models. Name a snapshot in it: models--a--b/snapshots/ccc",
    ),
    "a pooling without its encoder": (
        lambda path: [
            without("config.json")(path),
            (path / "1_Pooling").mkdir(),
            (path / "1_Pooling/config.json").write_text("{}"),
            (path / "modules.json").write_text("[]"),
        ],
        "has no config.json. Name a directory that holds a model",
    ),
    "an adapter": (lambda path: adapter(path, with_config=False), "LoRA adapter.*merge_and_unload"),
    "an adapter with a configuration": (lambda path: adapter(path, with_config=True), "LoRA adapter.*merge_and_unload"),
    "a directory of sentence-transformers": (
        moved("0_Transformer", "modules.json", "config_sentence_transformers.json"),
        "is a directory of sentence-transformers. Name its encoder's directory: .*0_Transformer",
    ),
    "an old directory of sentence-transformers": (
        moved("0_Transformer", "modules.json", "config.json"),
        "is a directory of sentence-transformers. Name its encoder's directory: .*0_Transformer",
    ),
    "the Hub's cache, not a snapshot": (
        lambda path: [moved("snapshots/" + "c" * 40)(path), (path / "blobs").mkdir()],
        "is a model's folder in the Hub's cache. Name a snapshot in it: snapshots/ccc",
    ),
    "an output of the Trainer": (moved("checkpoint-500"), "Name a directory in it that has one: checkpoint-500"),
    "a prepared directory": (
        lambda path: [without("config.json")(path), (path / "prepared.json").touch()],
        "--prepared",
    ),
    "no tokenizer": (without("tokenizer.json", "vocab.txt"), "has no tokenizer.json. Save its tokenizer there"),
    "SentencePiece alone": (
        lambda path: [without("tokenizer.json", "vocab.txt")(path), (path / "spiece.model").write_bytes(POINTER)],
        "has no tokenizer.json, but spiece.model, which SentencePiece reads",
    ),
    "a vocabulary without its merges": (
        byte_level_vocabulary(b'{"<unk>": 0}', None),
        "neither tokenizer.json nor merges",
    ),
    "merges of another vocabulary": (
        byte_level_vocabulary(b'{"<unk>": 0, "a": 1}', b"#version: 0.2\na b\n"),
        "merges.txt: line 2 does not join two tokens",
    ),
    "a vocabulary with ids beyond the model": (
        byte_level_vocabulary(b'{"<unk>": 0, "a": 99999}', b"#version: 0.2\n"),
        "vocab.json: entry 2 has a token id outside vocab_size",
    ),
    "a vocabulary that is another text": (only_vocabulary(b"Dear Sir or Madam,\n"), "vocab.txt is no vocabulary"),
    "a tokenizer that is larger than the embeddings": (
        edited("tokenizer.json", more_tokens),
        r"tokenizer.json: it has token ids outside vocab_size = \d+ of config.json, as 9999",
    ),
    "added tokens beyond the embeddings": (
        written("added_tokens.json", b'{"[NEW]": 9999}'),
        "added_tokens.json: it has",
    ),
    "a tokenizer of a newer library": (
        edited("tokenizer.json", lambda values: values["model"].pop("unk_token")),
        r"cannot be read as a tokenizer \(.*missing field.* A newer version than tokenizers \d",
    ),
    "a tokenizer with merges of a newer library": (
        edited("tokenizer.json", lambda values: values.update(model=UNREADABLE_MODEL)),
        r"did not match any variant of untagged enum.* A newer version than tokenizers \d",
    ),
    "a tokenizer with parts of a newer library": (
        edited("tokenizer.json", lambda values: values.update(pre_tokenizer={"type": "Parallel", "workers": 4})),
        "tokenizer.json: its pre_tokenizer has a part of type 'Parallel'",
    ),
    "an unknown class of tokenizer": (
        edited("tokenizer_config.json", lambda values: values.update(tokenizer_class="HerbertTokenizerFast")),
        "tokenizer_config.json: tokenizer_class is 'HerbertTokenizerFast'",
    ),
    "more rows in config.json than there are": (
        edited("config.json", lambda values: values.update(vocab_size=values["vocab_size"] + 5)),
        rf"config.json says vocab_size = \d+, but {EMBEDDINGS} has \d+ rows",
    ),
    "fewer rows in config.json than there are": (
        lambda path: [
            edited("config.json", lambda values: values.update(vocab_size=values["vocab_size"] - 5))(path),
            edited("tokenizer.json", lambda values: [values["model"]["vocab"].popitem() for _ in range(9)])(path),
        ],
        rf"config.json says vocab_size = \d+, but {EMBEDDINGS} has \d+ rows",
    ),
    "another width": (edited("config.json", lambda values: values.update(hidden_size=48)), "hidden_size = 48, but"),
    "more layers": (
        edited("config.json", lambda values: values.update(num_hidden_layers=12)),
        "config.json says 12 layers, but the weights hold 2",
    ),
    "another architecture": (
        edited("config.json", lambda values: values.update(model_type="modernbert")),
        "config.json says that the model is of type modernbert, but the weights are of another",
    ),
    "weights of a wrapped model": (
        weights(lambda tensors: [tensors.update({f"module.{name}": tensors.pop(name)}) for name in list(tensors)]),
        "saved under other names than transformers reads, as module",
    ),
    "quantised weights": (weights(quantised), f"the tensor '{EMBEDDINGS}' has the type I8: the weights are quantised"),
    "NaN in the weights": (
        put("encoder.layer.1.output.dense.bias", np.nan),
        "encoder.layer.1.output.dense.bias holds NaN",
    ),
    "infinity in the weights": (put(EMBEDDINGS, -np.inf), f"{EMBEDDINGS} holds NaN or an infinite number"),
    "more than an ONNX file holds": (huge, r"has 2,\d{3},\d{3},\d{3} bytes in fp32, more than .* of an ONNX file"),
    "a model that writes": (
        edited("config.json", lambda values: values.update(model_type="llama", architectures=["LlamaForCausalLM"])),
        "model_type is 'llama', of which no bundle can be made. Choose an encoder of one of the families bert",
    ),
    "a BERT that writes": (
        edited("config.json", lambda values: values.update(is_decoder=True)),
        "config.json: is_decoder says that the model writes text",
    ),
    "a tensor of an unknown type": (header(lambda values: values[EMBEDDINGS].update(dtype="F4")), "no encoder's is"),
}
