"""What a measurement is told: the device, the inputs, the number of rounds; imports no torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting:
    """The options of the command, the same for all parts; paths are absolute."""

    device: str
    """cuda or cpu."""
    quick: bool
    """Whether a few rows of everything are enough, with tiny models: a rehearsal."""
    workdir: str
    samples: str
    """Directory that fetch_samples wrote; where a file is missing, texts are made of short sentences."""
    model: str | None
    """Encoder that the jobs fine-tune."""
    bundle: str | None
    """Bundle to score with, in place of the one that the jobs export."""
    checkpoint: str | None
    """Checkpoint that `bundle` was made from."""
    imdb: str | None
    """IMDb as prepare_reviews wrote it; also gives film reviews where `samples` has none."""
    imdb_model: str | None
    """Encoder that is fine-tuned on IMDb."""
    imdb_epochs: int
    rounds: int
    run_s: float
    """Seconds that one run of a contender should take; its number of rows follows from its speed."""

    @property
    def root(self) -> Path:
        """The directory of all that is written."""
        return Path(self.workdir)

    @property
    def engine(self) -> str:
        """The engine of ONNX Runtime on the device."""
        return "cuda" if self.device == "cuda" else "onnxruntime"

    def choose(self, full: Value, quick: Value) -> Value:
        """Return `quick` in a rehearsal, else `full`."""
        return quick if self.quick else full

    def write(self) -> Path:
        """Write the setting for the processes of the parts and return the file."""
        path = self.root / "setting.json"
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        return path


def read_setting(path: Path) -> Setting:
    """Read what `Setting.write` wrote."""
    return Setting(**json.loads(path.read_text(encoding="utf-8")))
