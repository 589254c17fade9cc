"""The model card of a bundle (README.md in the Hugging Face layout); knows only what the manifest will say."""

from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from sentiment_ray.bundle.manifest import Default, Variant
from sentiment_ray.text.encoding import TextEncoder
from sentiment_ray.text.truncation import limit_in_words

READ = {
    "head": "the first {limit} of a text",
    "tail": "the last {limit} of a text",
    "head_tail": "{limit} of a text, a quarter from its start and the others from its end",
    "windows": "up to {limit} of a text, whose logits are pooled",
}
"""What is read of a long text, by the mode of truncation."""
TEMPLATE = """---
{front_matter}
---

# Sentiment of reviews: {labels}

Fine-tuned from `{model}`; reads {read}{cleaned}.
On {rows} validation rows the checkpoint reached macro-F1 {macro_f1:.3f} and accuracy {accuracy:.3f}.
Before fine-tuning the encoder had macro-F1 {base_model[macro_f1]:.3f} on {base_model[rows]} {base_model[split]} rows
({base_model[method]}).
Its logits are divided by {temperature:g}, fitted on validation rows, so that probabilities mean what they say.

| variant | engine | file | label agreement with torch | mean probability difference | macro-F1 | suite | rows/s |
|---|---|---|---|---|---|---|---|
{table}

The suite is 465 short sentences whose label no person doubts, in 13 capabilities; bundle.json has the share of each.

`auto` loads `{variant}` with {engine}. The rows a second are those of the machine that exported the bundle.

```python
from sentiment_ray import Predictor

Predictor.load("path/to/this/directory").predict(["This is a cherry pie."])
```
"""


def model_card(
    labels: tuple[str, ...],
    encoder: TextEncoder,
    training: dict[str, Any],
    temperature: float,
    variants: dict[str, Variant],
    best: Default,
) -> str:
    """Return the card as Markdown: what the model is, how exact each file is, how to load it."""
    rows = [
        f"| {name} | {engine} | {variant.file} | {gate['label_agreement']:.4f} "
        f"| {gate['mean_probability_difference']:.5f} | {gate['macro_f1']:.3f} | {gate['suite_share'] or 0:.3f} "
        f"| {variant.bench[engine]['rows_per_s']:,.0f} |"
        for name, variant in variants.items()
        for engine, gate in variant.gate.items()
    ]
    return TEMPLATE.format(
        front_matter=_front_matter(training),
        labels=", ".join(labels),
        model=PurePath(training["model"]).name,
        read=READ[encoder.truncation.mode].format(limit=limit_in_words(encoder.truncation, encoder.max_tokens)),
        cleaned=f", cleaned before ({', '.join(encoder.steps)})" if encoder.steps else "",
        base_model=training["base_model"],
        temperature=temperature,
        table="\n".join(rows),
        variant=best.variant,
        engine=best.engine,
        **training["best"]["metrics"],
    )


def _front_matter(training: dict[str, Any]) -> str:
    """Return the metadata that the Hub shows and searches (https://huggingface.co/docs/hub/model-cards), as YAML."""
    model, metrics = training["model"], training["best"]["metrics"]
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="reviews",
            dataset_name="held-out reviews",
            dataset_split="validation",
            metric_type=kind,
            metric_name=name,
            metric_value=round(metrics[key], 4),
        )
        for key, kind, name in (("macro_f1", "f1", "macro-F1"), ("accuracy", "accuracy", "accuracy"))
    ]
    card = ModelCardData(
        model_name=f"{PurePath(model).name}-sentiment",
        base_model=None if PurePath(model).is_absolute() else model,
        pipeline_tag="text-classification",
        library_name="transformers.js",
        tags=["sentiment-analysis", "onnx", "onnxruntime", "openvino"],
        metrics=["f1", "accuracy"],
        eval_results=results,
    )
    return str(card.to_yaml())
