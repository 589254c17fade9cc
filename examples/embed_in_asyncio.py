"""Classifies many reviews at once in a program of your own. Run it: python examples/embed_in_asyncio.py BUNDLE"""

import asyncio
import sys

from sentiment_ray import AsyncPredictor, Predictor

REVIEWS = ("This is a cherry pie.", "I love this little shop.", "The parcel came broken, and nobody answers.")


async def classify_reviews(bundle: str) -> None:
    async with AsyncPredictor(Predictor.load(bundle)) as predictor:
        answers = await asyncio.gather(*(predictor.predict([review]) for review in REVIEWS))
    for review, (answer,) in zip(REVIEWS, answers, strict=True):
        print(f"{answer.label} {answer.score:.2f} {review}")


asyncio.run(classify_reviews(sys.argv[1]))
