"""Parquet in, scored Parquet out, with Ray Data around the light Predictor. Needs the extra `score`."""

from sentiment_ray.errors import require_extra

require_extra("score", "ray", "pyarrow", "fsspec", "psutil", "jinja2", "matplotlib")
