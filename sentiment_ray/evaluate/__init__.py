"""A bundle's quality on labelled reviews. Needs the extra `evaluate`."""

from sentiment_ray.errors import require_extra

require_extra("evaluate", "sklearn", "pyarrow", "jinja2", "matplotlib")
