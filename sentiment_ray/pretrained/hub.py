"""Models on the Hugging Face Hub: a name to a commit, and a commit to files in the local cache; reads none of them."""

import re
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

from sentiment_ray.errors import ConfigError
from sentiment_ray.pretrained.model_files import MAX_BYTES

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ERRORS = (HfHubHTTPError, HFValidationError, EntryNotFoundError, OSError)
"""What the client of the Hub raises; errors of the network are OSErrors."""


def find_commit(model: str, revision: str | None) -> str:
    """Return the commit that a branch, a tag or a commit of a model on the Hub is now; without one, of its main branch.

    Where the Hub cannot be reached, it is the last commit that the local cache knows. ConfigError when there is none.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    try:
        # The cache keeps each file in a directory with the name of its commit, and the commit of each branch.
        return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name
    except HUB_ERRORS as error:
        raise _not_there(model, revision, error) from None


def download_model(model: str, commit: str | None) -> Path:
    """Return the directory of a model in the local cache, fetched from the Hub where it is not there yet."""
    try:
        # No file of a folder is wanted: onnx/, openvino/ and the like hold the weights once more.
        wanted = [*MAX_BYTES, "*.safetensors"]
        return Path(snapshot_download(model, revision=commit, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except HUB_ERRORS as error:
        raise _not_there(model, commit, error) from None


def _not_there(model: str, revision: str | None, error: Exception) -> ConfigError:
    why = str(error).strip().partition("\n")[0]
    at = f" at revision = {revision!r}" if revision else ""
    return ConfigError(f"model = {model!r}{at} is not what a directory here or the Hub can give: {why}")
