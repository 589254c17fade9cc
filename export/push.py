"""Copies a finished bundle to a Hub repository, or to any URL that fsspec knows, and checks what arrived."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.hf_api import RepoFile

from sentiment_ray.bundle.files import HUB_FILES, list_files
from sentiment_ray.bundle.manifest import MANIFEST_NAME, MODELS_FOLDER, is_bundle_file
from sentiment_ray.bundle.open import Bundle
from sentiment_ray.errors import BundleError, ConfigError
from sentiment_ray.storage import TEMPORARY, TEMPORARY_PREFIX, Store, open_store

HUB = "hf://"


def push_bundle(bundle: Bundle, url: str) -> None:
    """Copy a bundle to `hf://OWNER/NAME` or another URL, replacing an earlier bundle there.

    Every file is read once, checked, and sent as the bytes that were checked. Afterwards each file at the target must
    have the hash that was sent. ConfigError when the target holds anything that is not part of a bundle, when the other
    side refuses, or when a file arrived with other bytes.

    The Hub gets one commit, with the token of `hf auth login` or HF_TOKEN; a new repository is private. Elsewhere
    bundle.json is removed first and written last: no loader reads a bundle without it.
    """
    if url.startswith(HUB):
        _push_to_hub(bundle, url.removeprefix(HUB))
    else:
        _push_to_url(bundle, url)


def _push_to_url(bundle: Bundle, url: str) -> None:
    store = open_store(url)
    hashes = _hash_files(bundle)
    try:
        names = _list_target(store, url)
        store.remove(TEMPORARY)  # left by a push that was interrupted
        wrong = [name for name, sha256 in hashes.items() if name not in names or store.sha256(name) != sha256]
        stale = [name for name in names if name not in hashes]
        if not wrong and not stale:
            return
        for name in (MANIFEST_NAME, *stale):
            store.remove(name)
        wrong = [name for name in wrong if name != MANIFEST_NAME]
        for name in (*wrong, MANIFEST_NAME):
            store.write(name, _read(bundle, name))
            if store.sha256(name) != hashes[name]:
                store.remove(name)
                raise ConfigError(f"push = {url!r}: {name} arrived with other bytes. Push again.")
        store.remove(TEMPORARY)
    except OSError as error:
        raise ConfigError(f"push = {url!r}: {error}. Correct the URL, or the rights to write there.") from None


def _push_to_hub(bundle: Bundle, repository: str) -> None:
    hub = HfApi(library_name="sentiment-ray")
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        head = hub.model_info(repository).sha
        names = _check_names(_list_hub(hub, repository, head), f"{HUB}{repository}")
        contents = {name: _read(bundle, name) for name in _hash_files(bundle)}
        commit = hub.create_commit(
            repository,
            operations=[
                *(CommitOperationDelete(name) for name in names if name not in contents),
                *(CommitOperationAdd(name, data) for name, data in contents.items()),
            ],
            commit_message=f"Bundle {bundle.manifest.bundle_id}",
            parent_commit=head,
        )
        arrived = _list_hub(hub, repository, commit.oid)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ConfigError(
            f"push = 'hf://{repository}': the Hub refused it ({str(error).splitlines()[0]}). "
            "Write hf://OWNER/NAME, and give a token that may write there: hf auth login"
        ) from None
    for name, data in contents.items():
        if arrived.get(name) not in (hashlib.sha256(data).hexdigest(), _hash_as_git(data)):
            raise ConfigError(
                f"push = 'hf://{repository}': {name} arrived with other bytes than were sent. Push again."
            )


def _hash_files(bundle: Bundle) -> dict[str, str]:
    """Return the sha256 of every file that is pushed, by name."""
    return bundle.hashes() | {name: hashlib.sha256(data).hexdigest() for name, data in bundle.contents.items()}


def _read(bundle: Bundle, name: str) -> bytes:
    """Return the checked bytes of a file. BundleError when the file is not the one that was exported."""
    if name in bundle.contents:
        return bundle.contents[name]
    return bundle.model(next(key for key, variant in bundle.manifest.variants.items() if variant.file == name))


def _list_target(store: Store, url: str) -> list[str]:
    """Return the names of the bundle's files at the target. ConfigError when anything else is there."""
    try:
        if store.is_local and Path(store.root).exists():
            list_files(Path(store.root), folders=(MODELS_FOLDER, TEMPORARY))  # refuses links and other folders
    except BundleError as error:
        raise ConfigError(f"push = {url!r}: {error}") from None
    return _check_names(store.list(), url)


def _check_names(names: Iterable[str], url: str) -> list[str]:
    """Return the names without those that the Hub or an interrupted push adds. ConfigError for a foreign file."""
    interrupted = f"{TEMPORARY}/{TEMPORARY_PREFIX}"
    ours = [name for name in names if name.split("/")[0] not in HUB_FILES and not name.startswith(interrupted)]
    foreign = [name for name in ours if not is_bundle_file(name)]
    if foreign:
        raise ConfigError(f"push = {url!r}: {foreign[0]} is there, which is not part of a bundle. Name another URL.")
    return ours


def _list_hub(hub: HfApi, repository: str, revision: str | None) -> dict[str, str]:
    """Return the hash of every file of a revision by name: sha256 where the Hub stores it as LFS, else git's."""
    tree = hub.list_repo_tree(repository, recursive=True, revision=revision)
    return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in tree if isinstance(file, RepoFile)}


def _hash_as_git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
