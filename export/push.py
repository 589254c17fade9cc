"""A finished bundle to where others find it: a Hub repository, or any URL that fsspec knows."""

from sentiment_ray.bundle.files import FROM_THE_HUB
from sentiment_ray.bundle.manifest import MANIFEST_NAME, is_bundle_file
from sentiment_ray.bundle.open import Bundle
from sentiment_ray.errors import ConfigError
from sentiment_ray.storage import TEMPORARY, open_store

HUB = "hf://"


def push_bundle(bundle: Bundle, url: str) -> None:
    """Copy a bundle to `hf://OWNER/NAME` or another URL, in the place of an earlier bundle where one is there.

    The Hub gets one commit, to a repository that is private when it is new, with the token of `hf auth login` or
    HF_TOKEN. Elsewhere bundle.json goes first and comes last: no loader reads a bundle that has none. ConfigError when
    other files are there, or says what the other side did not accept.
    """
    if url.startswith(HUB):
        _push_to_hub(bundle, url.removeprefix(HUB))
    else:
        _push_to_url(bundle, url)


def _push_to_url(bundle: Bundle, url: str) -> None:
    store = open_store(url)
    try:
        added = (*FROM_THE_HUB, TEMPORARY)
        found = {name: info for name, info in store.list().items() if name.split("/")[0] not in added}
        strangers = [name for name in found if name != MANIFEST_NAME and not is_bundle_file(name)]
        if strangers:
            raise ConfigError(
                f"push = {url!r}: {strangers[0]} is there, which is no file of a bundle. Name another URL."
            )
        manifest = (bundle.path / MANIFEST_NAME).read_bytes()
        is_whole = all(
            name in found and found[name].bytes == entry.bytes for name, entry in bundle.manifest.files.items()
        )
        store.remove(TEMPORARY)  # what a push that died has left
        if is_whole and MANIFEST_NAME in found and store.read(MANIFEST_NAME) == manifest:
            return
        for name in (MANIFEST_NAME, *(name for name in found if name not in bundle.manifest.files)):
            store.remove(name)
        for name in bundle.manifest.files:
            store.write(name, (bundle.path / name).read_bytes())
        store.write(MANIFEST_NAME, manifest)
        store.remove(TEMPORARY)  # a bundle holds its own files alone
    except OSError as error:
        raise ConfigError(f"push = {url!r}: {error}. Correct the URL, or the rights to write there.") from None


def _push_to_hub(bundle: Bundle, repository: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(library_name="sentiment-ray")
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=repository,
            folder_path=bundle.path,
            commit_message=f"Bundle {bundle.manifest.bundle_id}",
            delete_patterns=["onnx/*.onnx"],
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ConfigError(
            f"push = 'hf://{repository}': the Hub did not take it ({str(error).splitlines()[0]}). "
            "Write hf://OWNER/NAME, and give a token that may write there: hf auth login"
        ) from None
