"""The route of decisions."""

from sentiment_ray.openai_api.routing import make_router

router = make_router()
