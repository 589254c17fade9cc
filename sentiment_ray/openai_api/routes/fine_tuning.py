"""Routes of fine-tuning jobs, their events and checkpoints."""

from sentiment_ray.openai_api.routing import make_router

router = make_router()
