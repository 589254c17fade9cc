"""mosec with its batching, and ONNX Runtime: https://mosecorg.github.io/mosec/examples/pytorch.html."""

import sys

from mosec import Server, Worker
from serving import Classifier, parse_flags

FLAGS = parse_flags(__doc__)


class Reviews(Worker):
    """Classifies the texts of several requests at once."""

    def __init__(self) -> None:
        self.classifier = Classifier(FLAGS)

    def forward(self, data: list[dict[str, str]]) -> list[list[dict[str, object]]]:
        """Return the answers of a batch."""
        return self.classifier.classify([request["inputs"] for request in data])


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(FLAGS.port), "--log-level", "error"]
    server = Server()
    server.append_worker(Reviews, num=1, max_batch_size=32, max_wait_time=1)
    server.run()
