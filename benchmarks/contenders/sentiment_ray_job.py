"""This project's job, as the command line starts it: `python -m jobs.score_reviews`.

One worker for each thread, unless flags of the job (`--num-workers 1 --cpus-per-worker 2`) follow the common flags.
"""

import subprocess
import sys
from pathlib import Path

from contender import parse_task, timed

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the job; its output goes to stderr, because stdout is for the contender's result line."""
    task = parse_task(__doc__)
    command = [sys.executable, "-m", "jobs.score_reviews"]
    command += ["--bundle", task.bundle, "--input", task.input, "--output", task.output]
    flags = ["--num-workers", str(task.threads), "--cpus-per-worker", "1", *task.rest]
    with timed(task):
        done = subprocess.run([*command, *flags], cwd=ROOT, stdout=sys.stderr, check=False)
        if done.returncode != 0:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
