"""OpenVINO itself on the ONNX file that Optimum exports, as documented or tuned.

As documented: read, compile, call, batches of 32 texts in the order they come, padded to the longest
(https://docs.openvino.ai/2025/openvino-workflow/running-inference/integrate-openvino-with-your-application.html).

Tuned: `--budget` sorts by length and takes 2,048 tokens at once; `--streams 2` computes two batches at a time, a
thread each (https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference.html); `--export`
takes a model that Optimum Intel made, `--group-size` says how many activations share a scale where its weights are
int8.
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
from prediction import Loaded, Padding, export_of, measure
from token_batches import in_given_order, padded, predictor_of, under_budget


def load(task: Task) -> Loaded:
    """Compile the model that the flags ask for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", action="store_true")
    parser.add_argument("--streams", type=int)
    parser.add_argument("--export")
    parser.add_argument("--group-size", type=int)
    options = parser.parse_args(task.rest)
    path = export_of(task, options.export) / "openvino_model.xml" if options.export else f"{task.optimum}/model.onnx"
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": task.threads}
    if options.streams:
        config["NUM_STREAMS"] = options.streams
    if options.group_size:
        config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = options.group_size
    compiled = openvino.Core().compile_model(Path(path), "CPU", config)
    names = {name for port in compiled.inputs for name in port.names}
    padding = Padding()

    def feed(ids: list[list[int]]) -> dict[str, NDArray[np.int64]]:
        input_ids, attention_mask = padded(ids)
        padding.add(int(attention_mask.sum()), attention_mask.size)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return inputs | ({"token_type_ids": np.zeros_like(input_ids)} if "token_type_ids" in names else {})

    def run_one_by_one(batches: Iterator[Any], logits: NDArray[np.float32]) -> None:
        for places, ids in batches:
            logits[places] = compiled(feed(ids))["logits"]

    pool = ThreadPoolExecutor(options.streams)
    requests = threading.local()

    def run_in_streams(batches: Iterator[Any], logits: NDArray[np.float32]) -> None:
        def infer(batch: tuple[NDArray[np.intp], dict[str, NDArray[np.int64]]]) -> None:
            places, inputs = batch
            if not hasattr(requests, "own"):
                requests.own = compiled.create_infer_request()
            logits[places] = requests.own.infer(inputs)["logits"]

        list(pool.map(infer, ((places, feed(ids)) for places, ids in batches)))

    run = run_in_streams if options.streams else run_one_by_one
    return Loaded(predictor_of(task, run, under_budget if options.budget else in_given_order), padding.share)


if __name__ == "__main__":
    measure(__doc__, load)
