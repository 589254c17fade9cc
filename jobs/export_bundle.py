"""Job: export the best checkpoint of a run as a bundle of ONNX files. Parses, calls, prints."""

from typing import Any

from export.config import ExportConfig
from sentiment_ray.config.shell import run, stage_job


@stage_job("export", ExportConfig, example="python -m jobs.export_bundle --run runs/demo/run --output runs/demo/bundle")
def main(config: ExportConfig) -> dict[str, Any]:
    """Export the best checkpoint of a run as ONNX files, each compared with torch on held-out reviews.

    --encoder exports an encoder that is not fine-tuned, with --labels to choose from; it answers with the nearest one.
    Runs on one machine without Ray. A file that differs too much from the checkpoint is left out. If it is the required
    one, no bundle is written and the exit code is 3. --sign-key signs the bundle.
    """
    from export.build import export_bundle

    return export_bundle(config)


if __name__ == "__main__":
    run(main)
