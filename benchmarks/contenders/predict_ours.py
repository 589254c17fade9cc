"""This project's Predictor as its README shows it; `--engine` and `--variant` replace the bundle's default."""

import argparse

from contender import Task
from prediction import Answers, Loaded, measure


def load(task: Task) -> Loaded:
    """Load the bundle."""
    from sentiment_ray import Predictor

    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--variant", default="auto")
    predictor = Predictor.load(task.bundle, threads=task.threads, **vars(parser.parse_args(task.rest)))

    def predict(texts: list[str]) -> Answers:
        predictions = predictor.predict(texts)
        return [answer.label for answer in predictions], [answer.score for answer in predictions]

    def padding(texts: list[str]) -> float:
        lengths = [scores.tokens for _, scores in predictor.score_in_batches(texts)]
        return 1 - sum(int(batch.sum()) for batch in lengths) / sum(int(batch.max()) * len(batch) for batch in lengths)

    return Loaded(predict, padding)


if __name__ == "__main__":
    measure(__doc__, load)
