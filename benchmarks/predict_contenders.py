"""The contenders of plain prediction and the exports that they need; knows nothing of how they are measured."""

import json
from pathlib import Path

from harness import Contender
from preparing import OPTIMUM, Export

OURS = Contender("ours", "predict_ours.py", "sentiment-ray", "this project, as its bundle says", ours=True)
PEAK = Contender("matrix-peak", "matrix_peak.py", "datasets", "torch.matmul")


def other_variants(bundle: Path) -> list[Contender]:
    """Return a contender for every variant and engine that passed the bundle's gate, except the bundle's default."""
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    default = manifest["defaults"]["cpu"]
    return [
        Contender(
            f"ours-{variant}-{engine}",
            OURS.script,
            OURS.environment,
            f"this project, {variant}, {engine}",
            ("--variant", variant, "--engine", engine),
            ours=True,
        )
        for variant, entry in manifest["variants"].items()
        for engine, gate in entry["gate"].items()
        if gate["passed"] and (variant, engine) != (default["variant"], default["engine"])
    ]


def _peer(name: str, script: str, environment: str, what: str, flags: str = "") -> Contender:
    imports = ("prediction.py", "token_batches.py")
    return Contender(name, script, environment, what, tuple(flags.split()), imports=imports)


def _pipelines() -> list[Contender]:
    script, ort = "predict_pipeline.py", "ray-onnxruntime"
    onnx, int8 = "--library onnxruntime", "--library onnxruntime --file model_quantized.onnx"
    return [
        _peer("pipeline", script, "datasets", "transformers pipeline, as documented", "--library torch"),
        _peer(
            "pipeline-tuned",
            script,
            "datasets",
            "transformers pipeline, bf16, sorted",
            "--library torch --bf16 --batch-size 8",
        ),
        _peer("ort", script, ort, "Optimum ORT in a pipeline, as documented", onnx),
        _peer("ort-tuned", script, ort, "Optimum ORT in a pipeline, sorted", f"{onnx} --batch-size 4"),
        _peer("ort-int8", script, ort, "Optimum ORT int8 in a pipeline, as documented", int8),
        _peer("ort-int8-tuned", script, ort, "Optimum ORT int8 in a pipeline, sorted", f"{int8} --batch-size 4"),
        _peer("optimum-intel", script, "optimum-intel", "OpenVINO in a pipeline, as documented", "--library openvino"),
    ]


def _engines() -> list[Contender]:
    vino, ctranslate2, cross = "predict_openvino.py", "predict_ctranslate2.py", "predict_cross_encoder.py"
    int8 = "--budget --streams 1 --export openvino-int8 --group-size 128"
    return [
        _peer("openvino", vino, "sentiment-ray", "OpenVINO, as documented"),
        _peer("openvino-tuned", vino, "sentiment-ray", "OpenVINO, sorted", "--budget --streams 1"),
        _peer("openvino-streams", vino, "sentiment-ray", "OpenVINO, sorted, two streams", "--budget --streams 2"),
        _peer("openvino-int8", vino, "sentiment-ray", "OpenVINO, sorted, int8 weights", int8),
        _peer("cross-encoder", cross, "sentence-transformers", "CrossEncoder, as documented"),
        _peer("cross-encoder-onnx", cross, "sentence-transformers", "CrossEncoder with ONNX", "--backend onnx"),
        _peer("ctranslate2", ctranslate2, "sentence-transformers", "CTranslate2, as documented"),
        _peer(
            "ctranslate2-tuned",
            ctranslate2,
            "sentence-transformers",
            "CTranslate2, sorted, int8",
            "--budget --export ctranslate2-int8",
        ),
        _peer("infinity", "predict_infinity.py", "infinity", "Infinity's engine, as documented"),
    ]


PEERS = (*_pipelines(), *_engines())
_INTEL = "optimum-cli export openvino --model {checkpoint} --task text-classification"
_CONVERTER = "ct2-transformers-converter --model {checkpoint} --output_dir {target}"
EXPORTS = (
    OPTIMUM,
    Export("openvino-int8", "optimum-intel", (f"{_INTEL} --weight-format int8 {{target}}",)),
    Export("openvino", "optimum-intel", (f"{_INTEL} {{target}}",)),
    Export("ctranslate2", "sentence-transformers", (_CONVERTER,)),
    Export("ctranslate2-int8", "sentence-transformers", (f"{_CONVERTER} --quantization int8",)),
)
