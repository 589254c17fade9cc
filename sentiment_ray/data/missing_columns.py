"""Says what to do about a column that a file of a source lacks, by the columns that it has; checks nothing."""

from collections.abc import Sequence
from itertools import islice

import pyarrow as pa

from sentiment_ray.column_names import quote_names
from sentiment_ray.data.label_advice import LABEL_OF_WORD
from sentiment_ray.data.label_mapping import parse_number
from sentiment_ray.data.readers.dialect import SEPARATORS
from sentiment_ray.data.readers.json_layout import find_nested_key
from sentiment_ray.data.readers.jsonl import read_json_lines
from sentiment_ray.data.source_config import Source
from sentiment_ray.data.source_file import SourceFile
from sentiment_ray.parquet_types import explain_nested_texts

CHAT_LAYOUT = 'Write each example as {"messages": [{"role": "user", "content": …}, {"role": "assistant", …}]}.'
LAYOUTS = (
    ({"messages"}, "Pass --format chat."),
    ({"prompt", "completion"}, "Pass --text-column prompt --label-column completion."),
    ({"instruction", "input", "output"}, "Pass --text-column input --label-column output."),
    ({"preferred_output", "non_preferred_output"}, f"Preferences are no labels. {CHAT_LAYOUT}"),
    ({"conversations"}, CHAT_LAYOUT),
    ({"contents"}, CHAT_LAYOUT),
    ({"custom_id", "body"}, "These are the requests of a batch, which have no labels. Name labelled examples."),
    (
        {"custom_id", "response"},
        "These are the answers of a batch without its texts. Join them with the requests by custom_id, and write a "
        "text and a label on each line.",
    ),
    ({"data", "annotations"}, "Export the project of Label Studio as CSV or as JSON-MIN."),
)
"""Keys of the layouts in which examples and labels are stored, and how a file with them is read."""
MAX_NAME_CHARACTERS = 60
"""A longer name of a column is probably a review: the file has no header."""
FIRST_OBJECTS = 100


def find_remedy(
    file: SourceFile, key: str, name: str, columns: Sequence[str], source: Source, schema: pa.Schema | None
) -> str:
    """Return what to do about the missing column `name` of the source's `key`: usually to set the key.

    `columns` are those of the file, and `schema` that of a Parquet file.
    """
    layout = next((remedy for keys, remedy in LAYOUTS if keys <= {*columns}), None)
    if layout:
        return layout
    if schema is not None and key == "text_column":
        nested = explain_nested_texts(schema, name)
        if nested:
            return f"{nested}."
    if file.format == "jsonl":
        nested = _explain_nested_key(file, name, source)
        if nested:
            return nested
    labels = _explain_labels(file, name, columns) if key == "label_column" else None
    if not labels and file.format in SEPARATORS and any(map(_seems_to_be_value, columns)):
        return "If its first line is a row, write a line with the names of the columns above it."
    return labels or name_key(key, source)


def name_key(key: str, source: Source) -> str:
    """Return that a key of the source names the column, with its flag."""
    flag = "" if key == "id_column" else f"Pass --{key.replace('_', '-')}, or s"
    return f"{flag or 'S'}et {key} for the source {source.name!r}."


def _explain_nested_key(file: SourceFile, name: str, source: Source) -> str | None:
    """Return how a key of an object inside the objects of a file becomes a column, if the missing name means one."""
    for _, value, _ in islice(read_json_lines(file.path, source.encoding), FIRST_OBJECTS):
        nested = find_nested_key(value, name) if value else None
        if nested:
            return (
                f"A key of an inner object is no column: {nested!r}. Write it as one, for example: "
                f"jq -c '.{nested.rpartition('.')[2]} = .{nested}' FILE > NEW.jsonl."
            )
    return None


def _seems_to_be_value(name: str) -> bool:
    """Whether a name in a header is rather a label, a number or a review, so that the file has no header."""
    is_label = name.strip().lower() in LABEL_OF_WORD
    return is_label or parse_number(name) is not None or len(name) > MAX_NAME_CHARACTERS


def _explain_labels(file: SourceFile, name: str, columns: Sequence[str]) -> str | None:
    """Return what to do if the labels are the names of columns or of directories; else None."""
    named = [column for column in columns if column.strip().lower() in LABEL_OF_WORD]
    if len(named) > 1:
        return f"If {quote_names(named)} hold a 1 in the rows of a label, write its name into one column {name!r}."
    directories = (each for each in file.id_prefix.split("/")[1:-1] if each.lower() in LABEL_OF_WORD)
    label = next(directories, None)
    if label:
        return f"If directories such as {label!r} name the labels of their files, rename it to '{name}={label}'."
    return None
