"""Ray Data with ONNX Runtime through Optimum, each as documented.

The class: https://docs.ray.io/en/latest/data/working-with-text.html; the pipeline in it:
https://huggingface.co/docs/optimum-onnx/onnxruntime/usage_guides/pipelines. In each actor ONNX
Runtime uses every core that the process may use, because neither page limits its threads.
"""

import numpy as np
import ray
from contender import parse_task, timed
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline


class TextClassifier:
    """Ray's class around Optimum's pipeline."""

    def __init__(self, directory: str, max_tokens: int) -> None:
        model = ORTModelForSequenceClassification.from_pretrained(directory, file_name="model.onnx")
        tokenizer = AutoTokenizer.from_pretrained(directory)
        self.model = pipeline("text-classification", model=model, tokenizer=tokenizer)
        self.max_tokens = max_tokens

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add the label of every text of a batch."""
        predictions = self.model(list(batch["text"]), truncation=True, max_length=self.max_tokens)
        batch["label"] = np.array([prediction["label"] for prediction in predictions])
        return batch


def main() -> None:
    """Read, classify in one actor for each thread, write."""
    task = parse_task(__doc__)
    ray.init(num_cpus=task.threads + 1, include_dashboard=False)
    with timed(task):
        rows = ray.data.read_parquet(task.input)
        labelled = rows.map_batches(
            TextClassifier,
            fn_constructor_args=(task.optimum, task.max_tokens),
            compute=ray.data.ActorPoolStrategy(size=task.threads),
        )
        labelled.write_parquet(task.output)


if __name__ == "__main__":
    main()
