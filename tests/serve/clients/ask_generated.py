"""Generates a client from the service's OpenAPI document, asks with it, and prints its answers as JSON: URL [KEY]."""

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TEXT = "What a good day!"


def main(url: str, key: str | None) -> None:
    """Print what the generator says and what the generated client returns."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "config.yaml"
        config.write_text("post_hooks: []\n")
        command = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--meta", "none"]
        arguments = ["--config", str(config), "--output-path", f"{directory}/generated"]
        address = ["--url", f"{url}/api-doc/openapi.json"]
        done = subprocess.run([*command, *arguments, *address], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        sys.path.insert(0, directory)
        print(json.dumps({"said": done.stdout + done.stderr, **_ask(url, key)}))


def _ask(url: str, key: str | None) -> dict[str, Any]:
    generated = importlib.import_module("generated")
    models = importlib.import_module("generated.models")
    client = generated.AuthenticatedClient(url, token=key) if key else generated.Client(url)

    def call(module: str, **given: Any) -> Any:
        return importlib.import_module(f"generated.api.{module}").sync(client=client, **given)

    predicted = call("text_embeddings_inference.predict", body=models.PredictRequest(inputs=TEXT))
    refused = call("text_embeddings_inference.predict", body=models.PredictRequest(inputs=" "))
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}
    body = models.InferRequest.from_dict({"inputs": [tensor]})
    inferred = call("open_inference_protocol.infer", model="sentiment", body=body)
    predicted_batch = call("text_embeddings_inference.predict", body=models.PredictRequest(inputs=[TEXT, [TEXT]]))
    vertex = models.VertexRequest.from_dict({"instances": [{"inputs": [TEXT]}]})
    return {
        "predict": [element.to_dict() for element in predicted],
        "predict_batch": [[element.to_dict() for element in ranking] for ranking in predicted_batch],
        "refused": refused.to_dict(),
        "infer": inferred.to_dict(),
        "vertex": [element.to_dict() for element in call("vertex_ai.vertex", body=vertex).predictions[0][0]],
        "info": call("text_embeddings_inference.info").to_dict(),
    }


if __name__ == "__main__":
    main(sys.argv[1], (sys.argv[2:] or [None])[0])
