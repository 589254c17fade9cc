"""Ray Data with a transformers pipeline, as documented: https://docs.ray.io/en/latest/data/working-with-text.html

Only the model, the files and the truncation that the model needs differ from the page's `TextClassifier`. The cluster
gets one CPU more than there are actors. Without it the task that lists the files would wait for ever (ray#44687).
"""

import numpy as np
import ray
from contender import parse_task, timed
from transformers import pipeline


class TextClassifier:
    """The class of that page: a pipeline, made once in each actor."""

    def __init__(self, checkpoint: str, max_tokens: int) -> None:
        self.model = pipeline("text-classification", model=checkpoint)
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
            fn_constructor_args=(task.checkpoint, task.max_tokens),
            compute=ray.data.ActorPoolStrategy(size=task.threads),
        )
        labelled.write_parquet(task.output)


if __name__ == "__main__":
    main()
