"""The application: routes, the form of errors, and what is around every request."""

from fastapi import FastAPI

from sentiment_ray.openai_api.service import Service


def create_app(service: Service) -> FastAPI:
    """Return the ASGI application of a service."""
    app = FastAPI(title="sentiment-ray", docs_url=None, redoc_url=None)
    app.state.service = service
    return app
