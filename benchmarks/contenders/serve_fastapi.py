"""FastAPI and ONNX Runtime, as most services of this kind are written: one text a call, in FastAPI's thread pool."""

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from serving import Classifier, parse_flags


class Review(BaseModel):
    """The body of a request."""

    inputs: str


def main() -> None:
    """Serve until the process is stopped."""
    flags = parse_flags(__doc__)
    classifier = Classifier(flags)
    app = FastAPI()

    @app.post("/predict")
    def predict(review: Review) -> list[dict[str, object]]:
        return classifier.classify([review.inputs])[0]

    uvicorn.run(app, host="127.0.0.1", port=flags.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
