"""The keys of a source that say how its text files are written: encoding, separator, quote, escape; reads no data."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sentiment_ray.config.sections import is_unset
from sentiment_ray.data.readers.encodings import check_encoding

Format = Literal["auto", "parquet", "csv", "tsv", "jsonl", "chat"]
FORMATS_WITH_CELLS = ("auto", "csv", "tsv")
NONE = "none"
TAB_NAMES = ("tab", "\\t")
"""What a shell can pass for a tab."""
CHARACTER_CODE = re.compile(r"\\x([0-9a-fA-F]{2})")
"""What a shell can pass for a character without a key, such as Hive's \\x01."""


def _check_separator(value: str) -> str:
    code = CHARACTER_CODE.fullmatch(value)
    value = chr(int(code[1], 16)) if code else "\t" if value in TAB_NAMES else value
    if len(value) != 1 or value in '"\r\n':
        raise ValueError("write one character, as in --separator ';', or tab")
    return value


def _check_mark(value: str) -> str:
    if value != NONE and (len(value) != 1 or value in "\r\n" or value.isalnum()):
        raise ValueError(f"write one character, or {NONE}")
    return value


Encoding = Annotated[str, AfterValidator(check_encoding)]
Separator = Annotated[str, AfterValidator(_check_separator)]
Mark = Annotated[str, AfterValidator(_check_mark)]


class TextFormat(BaseModel):
    """How the text files of a source are written."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Format = "auto"
    """parquet, csv, tsv, jsonl or chat. auto goes by the file's ending; JSON Lines with the key `messages` are chat."""
    encoding: Encoding | None = Field(default=None, exclude_if=is_unset)
    """Encoding of the text files, such as cp1252, utf-16 or shift_jis. Default: UTF-8."""
    separator: Separator | None = Field(default=None, exclude_if=is_unset)
    """csv and tsv: the character between two cells, or tab. Default: a comma in csv and a tab in tsv, or else the
    comma, semicolon, tab or bar with which the header has the columns that are wanted."""
    quote: Mark | None = Field(default=None, exclude_if=is_unset)
    """csv and tsv: the character around a cell that holds separators or line breaks, or none. Default: the double
    quote, but none between tabs."""
    escape: Mark | None = Field(default=None, exclude_if=is_unset)
    """csv and tsv: the character before a quote that is part of a cell, such as the backslash of Spark, or none.
    Default: none, since a quote inside a cell is doubled."""

    @model_validator(mode="after")
    def _check_text_format(self) -> "TextFormat":
        for key in ("separator", "quote", "escape"):
            if getattr(self, key) and self.format not in FORMATS_WITH_CELLS:
                raise ValueError(f"{key} is for the formats csv and tsv, but format is {self.format!r}.")
        if self.separator and self.separator in (self.quote, self.escape):
            raise ValueError(f"separator is {self.separator!r}, and so is quote or escape. Change one of them.")
        if self.encoding and self.format == "parquet":
            raise ValueError("encoding is for text files, but format is 'parquet'.")
        return self
