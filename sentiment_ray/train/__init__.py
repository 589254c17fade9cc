"""Prepared reviews to a fine-tuned checkpoint, with Ray Train. Needs the extra `train`."""

from sentiment_ray.errors import require_extra

require_extra("train", "ray", "torch", "transformers", "pyarrow", "sklearn")
