"""OpenVINO itself on the ONNX file that Optimum exports, as documented or tuned.

As documented: read, compile, call, batches of 32 texts in the given order, padded to the longest
(https://docs.openvino.ai/2025/openvino-workflow/running-inference/integrate-openvino-with-your-application.html).

Tuned: `--budget` sorts by length and takes 2,048 tokens at once; `--streams 2` computes two batches at a time, with
one thread each (https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference.html);
`--export` takes a model made by Optimum Intel, and `--group-size` is the number of activations that share a scale when
its weights are int8.
"""

import argparse
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from contender import Task
from numpy.typing import NDArray
from prediction import Loaded, Padding, export_path, measure
from token_batches import batches_in_order, batches_under_budget, build_predictor, pad


def load(task: Task) -> Loaded:
    """Compile the model that the flags name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", action="store_true")
    parser.add_argument("--streams", type=int)
    parser.add_argument("--export")
    parser.add_argument("--group-size", type=int)
    options = parser.parse_args(task.rest)
    path = export_path(task, options.export) / "openvino_model.xml" if options.export else f"{task.optimum}/model.onnx"
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": task.threads}
    if options.streams:
        config["NUM_STREAMS"] = options.streams
    if options.group_size:
        config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = options.group_size
    compiled = openvino.Core().compile_model(Path(path), "CPU", config)
    names = {name for port in compiled.inputs for name in port.names}
    padding = Padding()

    def feed(ids: list[list[int]]) -> dict[str, NDArray[np.int64]]:
        input_ids, attention_mask = pad(ids)
        padding.add(int(attention_mask.sum()), attention_mask.size)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return inputs | ({"token_type_ids": np.zeros_like(input_ids)} if "token_type_ids" in names else {})

    def run_one_by_one(batches: Iterator[Any], logits: NDArray[np.float32]) -> None:
        for indices, ids in batches:
            logits[indices] = compiled(feed(ids))["logits"]

    pool = ThreadPoolExecutor(options.streams)
    requests = threading.local()

    def run_in_streams(batches: Iterator[Any], logits: NDArray[np.float32]) -> None:
        def infer(batch: tuple[NDArray[np.intp], dict[str, NDArray[np.int64]]]) -> None:
            indices, inputs = batch
            if not hasattr(requests, "own"):
                requests.own = compiled.create_infer_request()
            logits[indices] = requests.own.infer(inputs)["logits"]

        list(pool.map(infer, ((indices, feed(ids)) for indices, ids in batches)))

    run = run_in_streams if options.streams else run_one_by_one
    return Loaded(
        build_predictor(task, run, batches_under_budget if options.budget else batches_in_order), padding.share
    )


if __name__ == "__main__":
    measure(__doc__, load)
