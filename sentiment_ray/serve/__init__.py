"""A bundle behind HTTP. Needs the extra `serve`."""

from sentiment_ray.errors import require_extra

require_extra("serve", "fastapi", "uvicorn")
