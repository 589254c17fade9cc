"""Opens a path or URL with fsspec: inputs and outputs have one resolution of endpoints and keys; reads nothing."""

import os
import re

import fsspec
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from sentiment_ray.errors import ConfigError, MissingExtraError, first_line
from sentiment_ray.paths import is_url

CHAIN = re.compile(r"::[A-Za-z][\w+.-]*://|^[A-Za-z][\w+.-]*::")
"""How fsspec writes a chain of protocols. Another `::` is part of a name."""
PACKAGES = {
    "s3": "sentiment-ray[s3]", "s3a": "sentiment-ray[s3]", "gs": "sentiment-ray[gcs]", "gcs": "sentiment-ray[gcs]",
    "abfss": "adlfs", "wasbs": "adlfs", "oss": "ossfs",
}  # fmt: skip
"""What to install for a protocol, if it is not the extra of fsspec with its name."""


def open_location(location: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of a path or URL and the path on it. MissingExtraError names a library to install.

    A location without `protocol://` is a local path, also with the `::` by which fsspec separates chained protocols.
    """
    if not is_url(location):
        return LocalFileSystem(use_listings_cache=False), os.path.abspath(location)
    is_chain = CHAIN.search(location) is not None
    base = location if is_chain else location.partition("::")[0]
    try:
        fs, path = fsspec.core.url_to_fs(base, use_listings_cache=False)
    except ImportError as error:
        protocol = split_protocol(location)[0]
        package = PACKAGES.get(protocol, f"fsspec[{protocol}]")
        raise MissingExtraError(f"{location}: {error}. Run: pip install '{package}'") from None
    except ValueError as error:
        if package := PACKAGES.get(split_protocol(location)[0], ""):
            raise MissingExtraError(f"{location}: its library is not installed. Run: pip install '{package}'") from None
        raise ConfigError(f"{location}: {error}. Use a local path, s3://, gs:// or another URL of fsspec.") from None
    except Exception as error:  # the library of every store has its own errors, as that of HDFS without Java
        raise ConfigError(
            f"{location} cannot be opened ({first_line(error)}). Correct it, or install what its library needs."
        ) from None
    return fs, str(path if is_chain else fs._strip_protocol(location))


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Whether a file system is one of this machine."""
    return isinstance(fs, LocalFileSystem)


def full_path(fs: fsspec.AbstractFileSystem, path: str) -> str:
    """Return a path as a person writes it: a URL with its protocol, or a plain local path."""
    return path if is_local(fs) else str(fs.unstrip_protocol(path))
