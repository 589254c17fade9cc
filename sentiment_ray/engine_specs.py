"""Every engine that can run a bundle, one entry each; imports none of them."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass, replace

SERVING_ROW_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Numbers of rows of a batch of a service. An engine is slow with the first batch of each shape."""


@dataclass(frozen=True)
class Batching:
    """How rows of token ids are put into batches for an engine, which prepares itself for each new shape of a batch."""

    tokens_per_batch: int = 2048
    """Largest number of tokens of a batch, unless the configuration says another."""
    lengths: tuple[int, ...] = ()
    """Lengths in tokens that rows are padded to, in ascending order. Without any, as `text.batching.round_up_lengths`
    says."""
    row_counts: tuple[int, ...] = ()
    """Numbers of rows that a batch may have, in ascending order; empty rows are added. Without any, every number."""
    encodes_ahead: bool = False
    """Whether texts are turned into token ids beside the engine, which does not need the CPU then."""
    serving_tokens_per_batch: int = 256
    """Largest number of tokens of a batch of a service, for which other requests wait."""

    def for_serving(self) -> "Batching":
        """Return how a service makes batches: smaller ones, of few numbers of rows, and of the same lengths."""
        row_counts = self.row_counts or SERVING_ROW_COUNTS
        return replace(self, tokens_per_batch=self.serving_tokens_per_batch, row_counts=row_counts)


CPU_BATCHING = Batching()
CUDA_BATCHING = Batching(
    tokens_per_batch=32_768,
    lengths=(16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512),
    row_counts=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048),
    encodes_ahead=True,
    serving_tokens_per_batch=8192,
)
"""Neighbours differ by at most a quarter in length from 32 tokens on, and by at most a half in rows."""


@dataclass(frozen=True)
class EngineSpec:
    """What is known of an engine before it is imported."""

    name: str
    module: str
    """Module with two functions. `create_engine(name, model, threads, num_streams)` returns an
    `inference.engines.Engine` for the bytes of an ONNX file. `describe_library()` returns what `sentiment-ray doctor`
    shows. For an engine on a GPU there is a third: `explain_unusable(name)` returns why the engine cannot be used on
    this machine, or None."""
    library: str
    """Name under which the engine's library is imported."""
    packages: tuple[str, ...]
    """Distributions that bring the library; one of them is enough."""
    remedy: str
    """What to do where none is installed."""
    cpu_engine: str | None = None
    """For an engine on a GPU, the engine on the CPU whose gate in a bundle decides which files it may load."""
    batching: Batching = CPU_BATCHING
    never_auto: str | None = None
    """Why `auto` never takes the engine, which must be named then."""

    @property
    def is_gpu(self) -> bool:
        """Whether the engine runs on a GPU."""
        return self.cpu_engine is not None

    @property
    def gate_engine(self) -> str:
        """Name of the engine whose gate in a bundle counts: an engine on the CPU has one of its own."""
        return self.cpu_engine or self.name

    def is_installed(self) -> bool:
        """Whether the library can be found; on a GPU it must come from one of the packages."""
        is_found = importlib.util.find_spec(self.library) is not None
        return is_found and (not self.is_gpu or self.installed_version() is not None)

    def installed_version(self) -> str | None:
        """Return the version of the first of the packages that is installed."""
        for package in self.packages:
            try:
                return importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
        return None


OPENVINO_MODULE = "sentiment_ray.inference.engines.openvino_engine"
ONNXRUNTIME_MODULE = "sentiment_ray.inference.engines.onnxruntime_engine"
CPU_REMEDY = "Run: pip install 'sentiment-ray[cpu]'"
GPU_REMEDY = (
    "Run: pip uninstall onnxruntime, then pip install 'sentiment-ray[gpu]'. Both packages own the same import name."
)
SPECS = (
    EngineSpec("openvino", OPENVINO_MODULE, "openvino", ("openvino",), CPU_REMEDY),
    EngineSpec("onnxruntime", ONNXRUNTIME_MODULE, "onnxruntime", ("onnxruntime", "onnxruntime-gpu"), CPU_REMEDY),
    EngineSpec(
        "cuda",
        ONNXRUNTIME_MODULE,
        "onnxruntime",
        ("onnxruntime-gpu",),
        GPU_REMEDY,
        cpu_engine="onnxruntime",
        batching=CUDA_BATCHING,
    ),
    EngineSpec(
        "tensorrt",
        ONNXRUNTIME_MODULE,
        "onnxruntime",
        ("onnxruntime-gpu",),
        GPU_REMEDY,
        cpu_engine="onnxruntime",
        batching=CUDA_BATCHING,
        never_auto="it compiles the model anew for every shape of a batch",
    ),
)
"""A new engine is a line here and the module that it names. `cuda` and `tensorrt` are providers of ONNX Runtime."""
ENGINES = {spec.name: spec for spec in SPECS}


def get_batching(engine: str) -> Batching:
    """Return how batches are made for an engine. One that is not in the table, as torch, has those of the CPU."""
    return ENGINES[engine].batching if engine in ENGINES else CPU_BATCHING


def cpu_engines() -> list[str]:
    """Return the names of the engines on the CPU, installed or not."""
    return [name for name, spec in ENGINES.items() if not spec.is_gpu]


def installed_engines() -> list[str]:
    """Return the names of the engines on the CPU that are installed."""
    return [name for name in cpu_engines() if ENGINES[name].is_installed()]


def list_gpu_engines() -> list[str]:
    """Return the names of the engines on a GPU, installed or not."""
    return [name for name, spec in ENGINES.items() if spec.is_gpu]


def installed_gpu_engines() -> list[str]:
    """Return the names of the engines on a GPU that are installed and that `auto` may take, with or without a GPU."""
    return [name for name in list_gpu_engines() if ENGINES[name].is_installed() and not ENGINES[name].never_auto]


def engine_packages() -> list[str]:
    """Return the distributions of all engines."""
    return list(dict.fromkeys(package for spec in ENGINES.values() for package in spec.packages))


def list_engines() -> str:
    """Return the names of all engines in words, for help texts."""
    *names, last = ENGINES
    return f"{', '.join(names)} or {last}"
