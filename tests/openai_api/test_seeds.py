"""66 examples are enough for the three messages of the tutorial, whatever the seed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.openai_api.fine_tuning import create_job, select_examples, wait_for_status
from tests.openai_api.running import MODEL, RunningService, run_service

pytestmark = pytest.mark.slow
ENCODER = ROOT / "data/samples/minilm"
MESSAGES = {
    "Remember that each day is a new opportunity to embrace the beauty of life.": "Positive",
    "I have to be honest, I'm just not enjoying this movie.": "Negative",
    "This is a cherry pie.": "Neutral",
}
SYSTEM = "Classify the sentiment of the message as negative, neutral or positive."


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    if not Path(ENCODER).is_dir():
        pytest.skip("needs `python -m jobs.fetch_samples`")
    with run_service(tmp_path_factory.mktemp("seeds") / "state", models={MODEL: str(ENCODER)}) as running:
        yield running


@pytest.mark.parametrize("seed", range(8))
def test_three_messages_are_answered_right_ten_times(running: RunningService, seed: int) -> None:
    client = running.make_client()
    job = wait_for_status(client, create_job(client, select_examples(), seed=seed).id)
    assert job.fine_tuned_model, job.error
    for text, label in MESSAGES.items():
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        answers = [
            client.chat.completions.create(model=job.fine_tuned_model, messages=messages)  # type: ignore[arg-type]
            for _ in range(10)
        ]
        assert [answer.choices[0].message.content for answer in answers] == [label] * 10
