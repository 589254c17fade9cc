"""Spark with a transformers pipeline in a pandas UDF, as documented.

The UDF over an iterator of batches, which loads its model once in each task:
https://spark.apache.org/docs/latest/api/python/reference/pyspark.sql/api/pyspark.sql.functions.pandas_udf.html.
Needs Java 17.
"""

from collections.abc import Iterator

import pandas
from contender import parse_task, timed
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf
from transformers import pipeline


def main() -> None:
    """Read, classify in one Python worker for each thread, write."""
    task = parse_task(__doc__)
    checkpoint, max_tokens = task.checkpoint, task.max_tokens

    def label(batches: Iterator[pandas.Series]) -> Iterator[pandas.Series]:
        classifier = pipeline("text-classification", model=checkpoint)
        for texts in batches:
            predictions = classifier(texts.to_list(), truncation=True, max_length=max_tokens)
            yield pandas.Series([prediction["label"] for prediction in predictions])

    builder = SparkSession.builder.master(f"local[{task.threads}]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    with spark.getOrCreate() as session, timed(task):
        rows = session.read.parquet(task.input)
        rows.withColumn("label", pandas_udf(label, "string")("text")).write.parquet(task.output)


if __name__ == "__main__":
    main()
