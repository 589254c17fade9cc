"""The model card of a bundle (README.md in the Hugging Face layout); knows only what the manifest will say."""

from typing import Any

from sentiment_ray.bundle import Default, Variant

TEMPLATE = """---
pipeline_tag: text-classification
library_name: sentiment-ray
tags: [sentiment-analysis, onnx]
metrics: [f1, accuracy]
---

# Sentiment of reviews: {labels}

Fine-tuned from `{model}`; reads the first {max_tokens} tokens of a text.
On {rows} validation rows the checkpoint reached macro-F1 {macro_f1:.3f} and accuracy {accuracy:.3f}.
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
    max_tokens: int,
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
        labels=", ".join(labels),
        model=training["model"].rstrip("/").rsplit("/", 1)[-1],
        max_tokens=max_tokens,
        temperature=temperature,
        table="\n".join(rows),
        variant=best.variant,
        engine=best.engine,
        **training["best"]["metrics"],
    )
