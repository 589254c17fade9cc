"""NeMo Curator with a stage of one's own, started again after a kill, with its checkpoints of input files.

https://docs.nvidia.com/nemo/curator/reference/infra/resumable-processing. The checkpoints need a local directory.
"""

import os
from dataclasses import dataclass

from contender import parse_task
from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.core.client import RayClient
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.base import ProcessingStage
from nemo_curator.stages.text.io.reader import ParquetReader
from nemo_curator.stages.text.io.writer import ParquetWriter
from nemo_curator.tasks import DocumentBatch
from stand_in import label_texts


@dataclass
class TextClassifier(ProcessingStage[DocumentBatch, DocumentBatch]):
    """Labels the texts of a batch, which has the rows of one file."""

    name = "text-classifier"

    def process(self, batch: DocumentBatch) -> DocumentBatch:
        """Add the label of every text of a batch."""
        frame = batch.to_pandas()
        frame["label"] = label_texts(frame["text"])
        batch.data = frame
        return batch


def main() -> None:
    """Read, classify, write."""
    task = parse_task(__doc__)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # Curator asks its cluster without a token
    client = RayClient(num_cpus=task.threads + 2, include_dashboard=False)
    client.start()
    pipeline = Pipeline(
        name="kills",
        stages=[
            ParquetReader(file_paths=task.input, files_per_partition=1),
            TextClassifier(),
            ParquetWriter(path=task.output),
        ],
    )
    try:
        pipeline.run(RayDataExecutor(), checkpoint_path=f"{task.output}.checkpoint")
    finally:
        client.stop()


if __name__ == "__main__":
    main()
