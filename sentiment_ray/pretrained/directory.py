"""Says what a directory holds that is no model as it is read here, and what to do; reads names, no contents."""

import os
import re
from pathlib import Path

from sentiment_ray.pretrained.model_files import INDEX_NAME, WEIGHTS_NAME

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
CONVERT = "If you trust its maker, convert it once: AutoModel.from_pretrained(DIR).save_pretrained(NEW)"
SAFETENSORS = "take the model's safetensors"
FORMATS = (
    (("openvino_model.bin", "openvino_model.xml"), f"a graph of OpenVINO, which cannot be trained; {SAFETENSORS}"),
    ((".npz", ".mlpackage", ".engine", ".plan"), f"weights of another library; {SAFETENSORS}"),
    ((".gguf", ".ggml"), "a GGUF file, which llama.cpp reads; take the model's safetensors"),
    ((".h5", ".pb", ".ckpt.index"), f"weights of TensorFlow. {CONVERT}, with from_tf=True"),
    ((".msgpack",), f"weights of Flax. {CONVERT}, with from_flax=True"),
    ((".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"), f"a pickle, which can run code and is not opened. {CONVERT}"),
    ((".onnx",), "an ONNX graph, which cannot be trained; take the model's safetensors"),
    ((".ot", ".mlmodel", ".tflite"), "weights of another library; take the model's safetensors"),
    (ARCHIVES, "an archive. Unpack it, and name the directory with its files"),
)
"""Ends of names, and what such a file is; the first that is found counts."""
FOLDERS = {
    "onnx": "onnx/ holds ONNX graphs, which cannot be trained; take the model's safetensors.",
    "saved_model": f"saved_model/ holds weights of TensorFlow. {CONVERT}, with from_tf=True.",
}
PARTS_WITHOUT_WEIGHTS = ("_Pooling", "_Normalize", "_Dense", "_LayerNorm", "_Dropout")
"""Ends of the directories of sentence-transformers that have a config.json and are no encoder."""
HUB_FOLDER = re.compile(r"models--[^/]+")
NOT_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "state.pt")
UNFINISHED = (".incomplete", ".part", ".crdownload", ".aria2", ".download")
OUTPUTS = {
    "bundle.json": "is a bundle, whose ONNX files cannot be trained. Name the model that it was made from",
    "run.json": "is a run. Name a checkpoint in it, or go on from it with --start-from",
    "prepared.json": "holds prepared reviews, and no model. It belongs to --prepared",
}
SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model", "bpe.codes")
OTHER_CONFIG = re.compile(r"config( ?\(\d+\)|_\d+| copy)?\.json(\.txt|\.json)?", re.IGNORECASE)
"""Names that browsers and other systems give to a config.json."""
MAX_NAMES = 10_000


def explain_no_config(root: Path) -> str:
    """Return what is at `root`, where no config.json is, and what to do, as the end of a sentence about it."""
    if not root.is_dir():
        return _explain_no_directory(root)
    names = _list_names(root)
    output = _explain_output(root, names)
    if output:
        return output
    if "config.json.dvc" in names or (root.parent / f"{root.name}.dvc").is_file():
        return "has no config.json, but is tracked by DVC. Fetch it with: dvc pull"
    if {"blobs", "snapshots"} <= names:
        return f"is a model's folder in the Hub's cache. Name a snapshot in it: {_join(sorted(_list_snapshots(root)))}."
    cached = sorted(
        f"{name}/{each}" for name in names if HUB_FOLDER.fullmatch(name) for each in _list_snapshots(root / name)
    )
    if cached:
        return f"is the Hub's cache of models. Name a snapshot in it: {_join(cached)}."
    inside = sorted(
        name for name in names if (root / name / "config.json").is_file() and not name.endswith(PARTS_WITHOUT_WEIGHTS)
    )
    if "modules.json" in names and inside:
        return f"is a directory of sentence-transformers. Name its encoder's directory: {root / inside[0]}"
    if inside:
        return f"has no config.json. Name a directory in it that has one: {_join(inside)}."
    others = sorted(name for name in names if OTHER_CONFIG.fullmatch(name))
    if others:
        return f"has no config.json, but {others[0]}. If it is the same, give it that name."
    return f"has no config.json. {_explain_weights(names) or 'Name a directory that holds a model.'}"


def _explain_no_directory(root: Path) -> str:
    """Return what stands in the place of a model's directory, and what to do."""
    if not root.exists():
        start = f"is a link to {os.readlink(root)}, which does" if root.is_symlink() else "does"
        return f"{start} not exist. Name a directory that holds a model."
    if root.name.lower().endswith(ARCHIVES):
        return "is an archive. Unpack it, and name the directory with its files."
    return "is a file. Name the directory that holds it, with config.json and tokenizer.json."


def explain_no_weights(root: Path) -> str:
    """Return what `root` has in the place of weights, and what to do, as the end of a sentence about it."""
    names = _list_names(root)
    output = _explain_output(root, names)
    if output:
        return output
    if _find_unfinished(root, names):
        return f"has no {WEIGHTS_NAME}, but a download that has not finished. Download it again."
    if f"{WEIGHTS_NAME}.dvc" in names or (root.parent / f"{root.name}.dvc").is_file():
        return f"has no {WEIGHTS_NAME}, but is tracked by DVC. Fetch it with: dvc pull"
    parts = sorted(name for name in names if name.endswith(".safetensors"))
    if len(parts) > 1:
        return f"has {_join(parts)}, but no {INDEX_NAME}, which says what is in them. Download it as well."
    if parts:
        return f"has no {WEIGHTS_NAME}, but {parts[0]}. Give it the name {WEIGHTS_NAME}."
    inside = sorted(f"{name}/{WEIGHTS_NAME}" for name in names if (root / name / WEIGHTS_NAME).is_file())
    if inside:
        return f"has no {WEIGHTS_NAME}, but {_join(inside)}. Name a directory that holds all files of a model."
    found = _explain_weights(names)
    return f"has no {WEIGHTS_NAME}{f', but {found}' if found else '. Download the model again.'}"


def explain_no_tokenizer(root: Path) -> str:
    """Return what `root` has in the place of a tokenizer, and what to do, as the end of a sentence about it."""
    names = _list_names(root)
    if "vocab.json" in names and "merges.txt" not in names:
        return "has vocab.json, but neither tokenizer.json nor merges.txt. Download them as well."
    pieces = next((name for name in SENTENCEPIECE if name in names), None)
    remedy = "Save its tokenizer there: AutoTokenizer.from_pretrained(...).save_pretrained(DIR) writes tokenizer.json."
    if pieces:
        return f"has no tokenizer.json, but {pieces}, which SentencePiece reads. With sentencepiece installed: {remedy}"
    return f"has no tokenizer.json. {remedy}"


def _explain_output(root: Path, names: set[str]) -> str | None:
    """Return what a directory is that PEFT or a stage has written, and what to do; None for any other."""
    if "adapter_config.json" in names:
        return (
            f"holds a LoRA adapter (PEFT: {root / 'adapter_config.json'}), not a model. Merge it into its base first: "
            "PeftModel.from_pretrained(BASE, DIR).merge_and_unload().save_pretrained(NEW)"
        )
    return next((f"{description}." for name, description in OUTPUTS.items() if name in names), None)


def _explain_weights(names: set[str]) -> str | None:
    """Return which weights of another format are among the names of a directory, and what to do."""
    for ends, description in FORMATS:
        for name in sorted(names - set(NOT_WEIGHTS)):
            if name.endswith(ends):
                return f"{name} is {description}."
    return next((description for name, description in FOLDERS.items() if name in names), None)


def _list_snapshots(folder: Path) -> list[str]:
    return [f"snapshots/{name}" for name in _list_names(folder / "snapshots")]


def _find_unfinished(root: Path, names: set[str]) -> bool:
    """Whether a download into a directory, or into the Hub's cache that it is in, has not ended."""
    folders = (root / ".cache/huggingface/download", root.parent.parent / "blobs")
    everywhere = names.union(*(_list_names(folder) for folder in folders))
    return any(name.endswith(UNFINISHED) for name in everywhere)


def _list_names(folder: Path) -> set[str]:
    """Return names in a folder, at most `MAX_NAMES`; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry, _ in zip(entries, range(MAX_NAMES), strict=False)}
    except OSError:
        return set()


def _join(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
