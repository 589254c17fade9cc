"""Makes the model card of a bundle, README.md in the Hugging Face layout. Knows only what the manifest will say."""

from collections.abc import Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from sentiment_ray.bundle.manifest import Default, Variant
from sentiment_ray.text.encoding import TextEncoder
from sentiment_ray.text.truncation import describe_part_read

SPLIT_NAMES = {"validation": "validation", "train": "training"}
TEMPLATE = """---
{front_matter}
---

# Sentiment of reviews: {labels}

Fine-tuned from `{model}`. It reads {read}{cleaned}.
On {rows} {split} rows the checkpoint reached macro-F1 {macro_f1:.3f} and accuracy {accuracy:.3f}.
Before fine-tuning, the encoder had macro-F1 {base_model[macro_f1]:.3f} on {base_model[rows]} {base_model[split]} rows
({base_model[method]}).
The files divide the logits by a temperature, which changes no label.

{notes}

| variant | engine | file | label agreement with torch | mean probability difference | macro-F1 | suite | rows/s |
|---|---|---|---|---|---|---|---|
{table}

The suite has 465 short English sentences with an obvious label, in 13 capabilities. bundle.json has the share of
sentences that pass for each capability. The label agreement has its 95 % interval in brackets.

`auto` loads `{variant}` with {engine}. Rows per second were measured on the machine that exported the bundle.

```python
from sentiment_ray import Predictor

Predictor.load("path/to/this/directory").predict(["This is a cherry pie."])
```
"""


def make_model_card(
    labels: tuple[str, ...],
    encoder: TextEncoder,
    training: dict[str, Any],
    variants: dict[str, Variant],
    default: Default,
    notes: Sequence[str],
) -> str:
    """Return the card as Markdown: what the model is, how close each file is to torch, and how to load it.

    `notes` are sentences that a user of the bundle should know.
    """
    rows = [
        f"| {name} | {engine} | {variant.file} | {_format_share(gate, 'label_agreement')} "
        f"| {gate['mean_probability_difference']:.5f} | {gate['macro_f1']:.3f} | {gate['suite_share'] or 0:.3f} "
        f"| {variant.bench[engine]['rows_per_s']:,.0f} |"
        for name, variant in variants.items()
        for engine, gate in variant.gate.items()
    ]
    return TEMPLATE.format(
        front_matter=_make_front_matter(training),
        labels=", ".join(labels),
        model=training["model"],
        read=describe_part_read(encoder.truncation, encoder.max_tokens),
        cleaned=f", after the cleaning steps {', '.join(encoder.cleaning_steps)}" if encoder.cleaning_steps else "",
        base_model=training["base_model"],
        notes="\n".join(f"- {note}" for note in notes),
        table="\n".join(rows),
        variant=default.variant,
        engine=default.engine,
        split=SPLIT_NAMES[training["best"].get("split", "validation")],
        **training["best"]["metrics"],
    )


def _format_share(gate: dict[str, Any], figure: str) -> str:
    low, high = gate[f"{figure}_interval"]
    return f"{gate[figure]:.4f} ({low:.3f} to {high:.3f})"


def _make_front_matter(training: dict[str, Any]) -> str:
    """Return the metadata that the Hub shows and searches, as YAML (https://huggingface.co/docs/hub/model-cards)."""
    name, metrics = training["model"].partition("@")[0], training["best"]["metrics"]
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="reviews",
            dataset_name="held-out reviews",
            dataset_split=training["best"].get("split", "validation"),
            metric_type=kind,
            metric_name=name,
            metric_value=round(metrics[key], 4),
        )
        for key, kind, name in (("macro_f1", "f1", "macro-F1"), ("accuracy", "accuracy", "accuracy"))
    ]
    card = ModelCardData(
        model_name=f"{name.rpartition('/')[2]}-sentiment",
        base_model=name if training["model_source"] == "hub" else None,
        pipeline_tag="text-classification",
        library_name="transformers.js",
        tags=["sentiment-analysis", "onnx", "onnxruntime", "openvino"],
        metrics=["f1", "accuracy"],
        eval_results=results,
    )
    return str(card.to_yaml())
