"""LitServe with its batching, and ONNX Runtime: https://lightning.ai/docs/litserve/features/batching."""

import litserve
from serving import Classifier, parse_flags

FLAGS = parse_flags(__doc__)


class Reviews(litserve.LitAPI):
    """Classifies the texts of several requests at once."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.classifier = Classifier(FLAGS)

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text of a request."""
        return request["inputs"]

    def predict(self, texts: list[str]) -> list[list[dict[str, object]]]:
        """Return the answers of a batch."""
        return self.classifier.classify(list(texts))

    def encode_response(self, output: list[dict[str, object]]) -> list[dict[str, object]]:
        """Return the answer of a request."""
        return output


if __name__ == "__main__":
    api = Reviews(max_batch_size=32, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=FLAGS.port, generate_client_file=False, log_level="warning"
    )
