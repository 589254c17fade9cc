"""Makes the model card of a bundle, README.md in the Hugging Face layout. Knows only what the manifest will say."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from export.exported_model import CardContent
from sentiment_ray.text.truncation import describe_part_read

FINE_TUNED = """Fine-tuned from `{model}`. It reads {read}{cleaned}.
On {rows} {split} rows the checkpoint reached macro-F1 {macro_f1:.3f} and accuracy {accuracy:.3f}.
Before fine-tuning, the encoder had macro-F1 {base_model[macro_f1]:.3f} on {base_model[rows]} {base_model[split]} rows
({base_model[method]}).
The files divide the logits by a temperature, which changes no label."""
NOT_FINE_TUNED = """The encoder `{model}` without any fine-tuning. It reads {read}.
A text gets the label whose description has the nearest embedding; the logits are {scale:g} times the cosines."""
SPLIT_NAMES = {"validation": "validation", "train": "training"}
TEMPLATE = """---
{front_matter}
---

# Sentiment of reviews: {labels}

{introduction}

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


def make_fine_tuned_card(labels: tuple[str, ...], content: CardContent) -> str:
    """Return the card of a checkpoint as Markdown: what it is, how close each file is to torch, and how to load it."""
    encoder, training = content.encoder, content.training
    introduction = FINE_TUNED.format(
        model=training["model"],
        read=describe_part_read(encoder.truncation, encoder.max_tokens),
        cleaned=f", after the cleaning steps {', '.join(encoder.cleaning_steps)}" if encoder.cleaning_steps else "",
        base_model=training["base_model"],
        split=SPLIT_NAMES[training["best"].get("split", "validation")],
        **training["best"]["metrics"],
    )
    return _fill_template(labels, content, introduction, _list_results(training["best"]))


def make_encoder_card(labels: tuple[str, ...], content: CardContent) -> str:
    """Return the card of an encoder that answers with the nearest label, as Markdown."""
    encoder, training = content.encoder, content.training
    introduction = NOT_FINE_TUNED.format(
        model=training["model"],
        read=describe_part_read(encoder.truncation, encoder.max_tokens),
        scale=training["scale"],
    )
    return _fill_template(labels, content, introduction, None)


def _fill_template(
    labels: tuple[str, ...], content: CardContent, introduction: str, results: list[EvalResult] | None
) -> str:
    rows = [
        f"| {name} | {engine} | {variant.file} | {_format_share(gate, 'label_agreement')} "
        f"| {gate['mean_probability_difference']:.5f} | {gate['macro_f1']:.3f} | {gate['suite_share'] or 0:.3f} "
        f"| {variant.bench[engine]['rows_per_s']:,.0f} |"
        for name, variant in content.variants.items()
        for engine, gate in variant.gate.items()
    ]
    return TEMPLATE.format(
        front_matter=_make_front_matter(content.training, results),
        labels=", ".join(labels),
        introduction=introduction,
        notes="\n".join(f"- {note}" for note in content.notes),
        table="\n".join(rows),
        variant=content.default.variant,
        engine=content.default.engine,
    )


def _format_share(gate: dict[str, Any], figure: str) -> str:
    low, high = gate[f"{figure}_interval"]
    return f"{gate[figure]:.4f} ({low:.3f} to {high:.3f})"


def _list_results(best: dict[str, Any]) -> list[EvalResult]:
    """Return the metrics of a checkpoint as the Hub shows them."""
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type="reviews",
            dataset_name="held-out reviews",
            dataset_split=best.get("split", "validation"),
            metric_type=kind,
            metric_name=name,
            metric_value=round(best["metrics"][key], 4),
        )
        for key, kind, name in (("macro_f1", "f1", "macro-F1"), ("accuracy", "accuracy", "accuracy"))
    ]


def _make_front_matter(training: Mapping[str, Any], results: list[EvalResult] | None) -> str:
    """Return the metadata that the Hub shows and searches, as YAML (https://huggingface.co/docs/hub/model-cards)."""
    name = training["model"].partition("@")[0]
    card = ModelCardData(
        model_name=f"{name.rpartition('/')[2]}-sentiment",
        base_model=name if training["model_source"] == "hub" else None,
        pipeline_tag="text-classification",
        library_name="transformers.js",
        tags=["sentiment-analysis", "onnx", "onnxruntime", "openvino"],
        metrics=["f1", "accuracy"] if results else None,
        eval_results=results,
    )
    return str(card.to_yaml())
