"""Spark with a transformers pipeline in a pandas UDF, tuned: texts sorted by length in small batches, bf16.

README.md lists what was tried. Needs Java 17.
"""

from collections.abc import Iterator

import pandas
import torch
from contender import parse_task, timed
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf
from transformers import pipeline

TEXTS_PER_FORWARD = 8


def main() -> None:
    """Read, classify in one Python worker for each thread, write."""
    task = parse_task(__doc__)
    checkpoint, max_tokens = task.checkpoint, task.max_tokens

    def label(batches: Iterator[pandas.Series]) -> Iterator[pandas.Series]:
        torch.set_num_threads(1)
        classifier = pipeline(
            "text-classification", model=checkpoint, dtype=torch.bfloat16, batch_size=TEXTS_PER_FORWARD
        )
        for texts in batches:
            by_length = texts.sort_values(key=lambda column: column.str.len())
            predictions = classifier(by_length.to_list(), truncation=True, max_length=max_tokens)
            labels = pandas.Series([prediction["label"] for prediction in predictions], index=by_length.index)
            yield labels.reindex(texts.index)

    builder = SparkSession.builder.master(f"local[{task.threads}]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    with spark.getOrCreate() as session, timed(task):
        rows = session.read.parquet(task.input)
        rows.withColumn("label", pandas_udf(label, "string")("text")).write.parquet(task.output)


if __name__ == "__main__":
    main()
