"""Everything that the scores of a run depend on, and the difference between two runs in words; reads no files."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sentiment_ray.inference.predictor import PackedBundle
from sentiment_ray.input_files.listing import InputFile
from sentiment_ray.manifest import encode_canonically
from sentiment_ray.paths import decode_name, encode_name
from sentiment_ray.score.config import EXECUTION_KEYS, ScoreConfig
from sentiment_ray.score.pins import Pins
from sentiment_ray.text.batching import PADDED_LENGTHS

PADDING_KEY = "padded_lengths"
"""Key of an identity's bundle: to which lengths rows are padded. Earlier releases, which had others, wrote none."""
FILE_SCHEMA = pa.schema([("path", pa.binary()), ("name", pa.binary()), ("bytes", pa.int64()), ("version", pa.string())])
"""The input files of a run. Names are bytes, because one of a local disk may not be UTF-8."""
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Identity:
    """All that the scores depend on, except for the pins."""

    bundle: Mapping[str, Any]
    """Id, engine and variant of the bundle, and the lengths to which rows are padded."""
    settings: Mapping[str, Any]
    """The keys of the configuration that change a score."""
    files: pa.Table
    """The input files, a table of FILE_SCHEMA."""

    @property
    def num_files(self) -> int:
        """The number of input files."""
        return int(self.files.num_rows)

    @property
    def num_bytes(self) -> int:
        """The size of all input files together."""
        return pc.sum(self.files["bytes"]).as_py() or 0


def identify_run(config: ScoreConfig, bundle: PackedBundle, files: Iterable[InputFile]) -> Identity:
    """Return all that the scores depend on: bundle, engine and variant, configuration keys, and every input file."""
    return Identity(
        {
            "bundle_id": bundle.manifest.bundle_id,
            "engine": bundle.engine,
            "variant": bundle.variant,
            PADDING_KEY: PADDED_LENGTHS,
        },
        config.model_dump(mode="json", exclude=set(EXECUTION_KEYS)),
        make_file_table((file.path, file.name, file.bytes, file.version) for file in files),
    )


def make_file_table(files: Iterable[tuple[str, str, int, str]]) -> pa.Table:
    """Return input files, each with path, name, bytes and version, as a table of FILE_SCHEMA."""
    columns = list(zip(*files, strict=True)) or [(), (), (), ()]
    encoded = [[encode_name(name) for name in column] for column in columns[:2]]
    return pa.table([*encoded, *map(list, columns[2:])], schema=FILE_SCHEMA)


def fingerprint_run(identity: Identity, pins: Pins | None) -> str:
    """Return the sha256 that stands for a run: the same on every machine for equal content, whatever its shards.

    It is that of `manifest.fingerprint` for `{"identity": {"bundle", "files", "settings"}, "pins"}`, computed without
    all files in memory at once.
    """
    digest = hashlib.sha256()
    digest.update(b'{"identity":{"bundle":' + encode_canonically(identity.bundle) + b',"files":[')
    separator = b""
    for start in range(0, identity.num_files, ROWS_AT_ONCE):
        rows = identity.files.slice(start, ROWS_AT_ONCE).to_pylist()
        digest.update(separator + b",".join(encode_canonically(_decode_file(row)) for row in rows))
        separator = b","
    digest.update(
        b'],"settings":'
        + encode_canonically(identity.settings)
        + b'},"pins":'
        + encode_canonically(pins and asdict(pins))
        + b"}"
    )
    return digest.hexdigest()


def differs_in_padding_alone(old: Identity, new: Identity) -> bool:
    """Whether two runs differ only in the lengths that rows are padded to, on which the last bits of scores depend."""
    is_same_bundle = {**old.bundle, PADDING_KEY: new.bundle[PADDING_KEY]} == new.bundle
    return is_same_bundle and old.settings == new.settings and bool(old.files.equals(new.files))


def has_same_identity(old: Identity, new: Identity) -> bool:
    """Whether two runs have the same identity. An earlier release left the version of a file empty in some stores."""
    if old.bundle != new.bundle or old.settings != new.settings or old.num_files != new.num_files:
        return False
    if old.files.equals(new.files):
        return True
    named = old.files["version"]
    versions = pc.if_else(pc.equal(named, ""), new.files["version"], named)
    index = old.files.schema.get_field_index("version")
    return bool(old.files.set_column(index, "version", versions).equals(new.files))


def describe_difference(old: Identity, new: Identity) -> str:
    """Return in words the first difference between the identities of two runs: the bundle, a key, or an input file."""
    if differs_in_padding_alone(old, new):
        return "another release, which padded texts to other lengths, so that the last bits of scores may differ"
    for key, value in new.bundle.items():
        if key != PADDING_KEY and old.bundle.get(key) != value:
            return f"another bundle ({key} was {old.bundle.get(key)!r} and is {value!r})"
    for key, value in new.settings.items():
        if old.settings.get(key) != value:
            return f"another configuration ({key} was {old.settings.get(key)!r} and is {value!r})"
    before, after = ({row["path"]: row for row in identity.files.to_pylist()} for identity in (old, new))
    for path in sorted({*before, *after}):
        if path not in after:
            return f"another input ({decode_name(path)} has been removed)"
        if path not in before:
            return f"another input ({decode_name(path)} has been added)"
        if before[path] != after[path]:
            return f"another input ({decode_name(path)} has changed)"
    return "another release's configuration"


def _decode_file(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"path": decode_name(row["path"]), "name": decode_name(row["name"])}
