"""Fine-tunes a model on 66 examples and asks it beside its base model, with the client of OpenAI.

pip install openai
OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=$(cat key.txt) python tutorial.py sentiment.jsonl
"""

import os
import sys
import time
from pathlib import Path

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

SYSTEM = "Classify the sentiment of the message as negative, neutral or positive."
MESSAGES = (
    "Remember that each day is a new opportunity to embrace the beauty of life.",
    "I have to be honest, I'm just not enjoying this movie.",
    "This is a cherry pie.",
)


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "sentiment.jsonl")
    model = os.environ.get("MODEL", "gpt-3.5-turbo")
    client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
    file = client.files.create(file=path, purpose="fine-tune")
    print(f"uploaded {file.id}")
    created = client.fine_tuning.jobs.create(
        training_file=file.id,
        model=model,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
        suffix="sentiment",
    )
    job = watch(client, created.id)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        sys.exit(f"the job {job.status}: {job.error.message if job.error else ''}")
    for text in MESSAGES:
        print(text)
        print(f"  base:  {ask(client, model, text)}")
        print(f"  tuned: {ask(client, job.fine_tuned_model, text)}")


def watch(client: OpenAI, job_id: str) -> FineTuningJob:
    """Show the events of a job until it has ended, and return it."""
    shown: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        for event in reversed(list(client.fine_tuning.jobs.list_events(job_id, limit=100))):
            if event.id not in shown:
                print(event.message)
            shown.add(event.id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(1)


def ask(client: OpenAI, model: str, text: str) -> str:
    """Ask a model the same ten times, and return the different words of its answers."""
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}],
        temperature=0,
        n=10,
    )
    return ", ".join(sorted({choice.message.content or "" for choice in completion.choices}))


if __name__ == "__main__":
    main()
