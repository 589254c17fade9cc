"""A driver that can be killed: scores what its one argument describes, on a cluster that is already there."""

import json
import os
import sys

import ray

from sentiment_ray import output_lock
from sentiment_ray.score.config import ScoreConfig
from sentiment_ray.score.score import score_reviews
from tests.chaos import saboteur


def main() -> None:
    address, config = json.loads(sys.argv[1])
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "CHAOS_", "PYTHONPATH"))}
    environment = {"worker_process_setup_hook": "tests.chaos.saboteur.install", "env_vars": passed_on}
    saboteur.install()
    output_lock.SETTLE_S = 2.0  # no request takes longer on one machine
    results, sys.stdout = sys.stdout, sys.stderr
    ray.init(address, runtime_env=environment, log_to_driver=False, logging_level="ERROR")
    results.write(json.dumps(score_reviews(ScoreConfig(**config))) + "\n")


if __name__ == "__main__":
    main()
