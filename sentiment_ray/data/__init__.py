"""Raw reviews to prepared ones: reading, checking, splitting. Needs the extra `data`."""

from sentiment_ray.errors import require_extra

require_extra("data", "ray", "pyarrow", "ftfy", "datasketch", "jinja2", "matplotlib")
