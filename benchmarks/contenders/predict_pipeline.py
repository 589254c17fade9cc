"""A transformers pipeline around the model of one of three libraries, as documented or tuned.

As documented: https://huggingface.co/docs/transformers/pipeline_tutorial for torch,
https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/pipelines for ONNX Runtime and
https://huggingface.co/docs/optimum-intel/openvino/inference for OpenVINO; only the threads are set. Tuned:
`--batch-size` sorts texts by length and sets the texts of a batch, `--bf16` is for torch. README.md lists what was
tried.
"""

import argparse
from typing import Any

from contender import Task
from prediction import Answers, Loaded, Padding, count_padding, export_path, measure, sort_by_length


def torch_pipeline(task: Task, options: argparse.Namespace, settings: dict[str, Any]) -> Any:
    """Return transformers' pipeline for the checkpoint."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(task.threads)
    precision = {"dtype": torch.bfloat16} if options.bf16 else {}
    return pipeline("text-classification", model=task.checkpoint, **precision, **settings)


def onnxruntime_pipeline(task: Task, options: argparse.Namespace, settings: dict[str, Any]) -> Any:
    """Return the pipeline for one of Optimum's ONNX files."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = task.threads
    model = ORTModelForSequenceClassification.from_pretrained(
        task.optimum, file_name=options.file or "model.onnx", session_options=session
    )
    tokenizer = AutoTokenizer.from_pretrained(task.optimum)
    return pipeline("text-classification", model=model, tokenizer=tokenizer, **settings)


def openvino_pipeline(task: Task, options: argparse.Namespace, settings: dict[str, Any]) -> Any:
    """Return the pipeline for a model of Optimum Intel."""
    from optimum.intel import OVModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    directory = export_path(task, options.export)
    model = OVModelForSequenceClassification.from_pretrained(
        directory, ov_config={"INFERENCE_NUM_THREADS": task.threads}
    )
    return pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(directory), **settings)


PIPELINES = {"torch": torch_pipeline, "onnxruntime": onnxruntime_pipeline, "openvino": openvino_pipeline}


def load(task: Task) -> Loaded:
    """Make the pipeline that the flags name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", choices=sorted(PIPELINES), required=True)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--file")
    parser.add_argument("--export", default="openvino")
    options = parser.parse_args(task.rest)
    settings = {"batch_size": options.batch_size} if options.batch_size else {}
    classifier = PIPELINES[options.library](task, options, settings)
    padding = Padding()
    count_padding(classifier.model, padding)

    def predict(texts: list[str]) -> Answers:
        answers = classifier(texts, truncation=True, max_length=task.max_tokens)
        return [answer["label"] for answer in answers], [answer["score"] for answer in answers]

    return Loaded(sort_by_length(predict) if options.batch_size else predict, padding.share)


if __name__ == "__main__":
    measure(__doc__, load)
