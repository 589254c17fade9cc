"""The keys of [evaluate]; knows no scikit-learn, so that --help is quick."""

from sentiment_ray.config import StageConfig


class EvaluateConfig(StageConfig):
    """Keys of [evaluate]."""

    bundle: str
    """Directory that export_bundle wrote."""
    input: str
    """Labelled reviews: a directory of Parquet files or one file, such as the test split."""
    text_column: str = "text"
    """Column that holds the review."""
    label_column: str = "label"
    """Column that holds the label."""
    engine: str = "auto"
    """onnxruntime or openvino; auto takes the fastest that passed the bundle's gate."""
    variant: str = "auto"
    """Variant of the bundle; auto takes the fastest that passed its gate."""
