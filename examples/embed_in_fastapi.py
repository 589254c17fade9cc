"""A FastAPI app that classifies reviews with a bundle. Run it: uvicorn examples.embed_in_fastapi:app"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request

from sentiment_ray import AsyncPredictor, Prediction, Predictor


@asynccontextmanager
async def open_predictor(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with AsyncPredictor(Predictor.load(os.environ.get("BUNDLE", "runs/demo/bundle"))) as predictor:
        yield {"predictor": predictor}


app = FastAPI(lifespan=open_predictor)


@app.post("/reviews")
async def classify_reviews(texts: list[str], request: Request) -> list[Prediction]:
    return await request.state.predictor.predict(texts)
