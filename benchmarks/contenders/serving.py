"""Shared by the servers of other libraries: their flags, and a model that classifies texts with ONNX Runtime."""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FLAGS = "SERVER_FLAGS"
"""Environment variable with the flags of the first process of a server."""


def parse_flags(description: str | None) -> argparse.Namespace:
    """Return the flags of a server: its model, the directory of tokenizer and labels, and its port."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True, help="ONNX file.")
    parser.add_argument("--bundle", type=Path, required=True, help="Directory with tokenizer.json and bundle.json.")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    flags = os.environ.setdefault(FLAGS, json.dumps(sys.argv[1:]))  # a process that this one starts has other flags
    return parser.parse_args(json.loads(flags))


class Classifier:
    """An ONNX file, its tokenizer and its labels."""

    def __init__(self, flags: argparse.Namespace) -> None:
        manifest = json.loads((flags.bundle / "bundle.json").read_text(encoding="utf-8"))
        self._labels = manifest["labels"]
        self._tokenizer = Tokenizer.from_file(str(flags.bundle / "tokenizer.json"))
        self._tokenizer.enable_truncation(manifest["max_tokens"])
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = flags.threads
        self._session = onnxruntime.InferenceSession(flags.model, options, providers=["CPUExecutionProvider"])
        self._inputs = {node.name for node in self._session.get_inputs()}

    def classify(self, texts: list[str]) -> list[list[dict[str, object]]]:
        """Return the labels and their scores for each text, the best first."""
        encodings = self._tokenizer.encode_batch_fast(texts)
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64)}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(ids)
        (logits,) = self._session.run(["logits"], feed)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        rows = exponents / exponents.sum(axis=1, keepdims=True)
        answers = [[{"label": name, "score": float(score)} for name, score in zip(self._labels, row, strict=True)]
                   for row in rows]  # fmt: skip
        return [sorted(answer, key=lambda entry: -entry["score"]) for answer in answers]
