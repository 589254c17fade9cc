"""Recognises what a file holds instead of what its name says: a pointer, a web page, another format; opens nothing."""

import json

START_BYTES = 512
"""How much of the beginning of a file `describe_content` needs."""

AGAIN = "Download it again."
SIGNS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself. Fetch it with: git lfs pull"),
    (b"version https://hawser", "is a pointer of Git LFS, not the file itself. Fetch it with: git lfs pull"),
    (b"/annex/objects/", "is a pointer of git-annex, not the file itself. Fetch it with: git annex get"),
    (b"# xet version", "is a pointer of Xet, not the file itself. {}"),
    (b"PK\x03\x04", "is a zip archive, as torch.save and some servers write one. {}"),
    (b"\x1f\x8b", "is compressed with gzip. Unpack it with: gunzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd. Unpack it with: unzstd"),
    (b"GGUF", "is a GGUF file, which llama.cpp reads. {}"),
    (b"\x89HDF", "is an HDF5 file, as TensorFlow writes one. {}"),
    (b"\x80\x02", "is a Python pickle, which can run code when it is opened. {}"),
    (b"\x80\x03", "is a Python pickle, which can run code when it is opened. {}"),
    (b"\x80\x04", "is a Python pickle, which can run code when it is opened. {}"),
    (b"\x80\x05", "is a Python pickle, which can run code when it is opened. {}"),
    (b"\xff\xfe", "is text in UTF-16. Save it as UTF-8."),
    (b"\xfe\xff", "is text in UTF-16. Save it as UTF-8."),
    (b"\xef\xbb\xbf", "begins with a byte order mark. Save it as UTF-8 without one."),
)
"""The first bytes of a file, and what it is, with what to do; `{}` stands for the remedy that the caller knows."""
MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")
ANSWERS = (
    b"entry not found", b"invalid username or password", b"access to ", b"repository not found", b"not found",
    b"404: not found", b"unauthorized", b"forbidden", b'{"error"', b'{"message"', b'{"detail"',
)  # fmt: skip
"""How the answers of servers begin that are saved in the place of a file."""


def describe_content(start: bytes, *, remedy: str = AGAIN) -> str | None:
    """Return what a file is, with what to do, as the end of a sentence; None for content that is not recognised.

    `start` is the beginning of the file: `START_BYTES` of it, or all of it. `remedy` is for content that has none of
    its own.
    """
    if not start:
        return f"is empty. {remedy}"
    if not start.strip(b"\0"):
        return f"holds only zeros, as a copy that broke off leaves it. {remedy}"
    for sign, description in SIGNS:
        if start.startswith(sign):
            return description.format(remedy)
    text = start.lstrip().lower()
    if text.startswith(MARKUP):
        return f"is a web page, as a server sends one in the place of a file. Log in where that is needed. {remedy}"
    if text.startswith(ANSWERS):
        return f"is an error message of a server, not the file itself. Log in where that is needed. {remedy}"
    return None


def describe_json_fault(data: bytes, error: ValueError, *, remedy: str) -> str:
    """Return why bytes cannot be read as JSON, and the remedy, as the end of a sentence that begins with the file."""
    known = describe_content(data[:START_BYTES], remedy=remedy)
    if known:
        return known
    if isinstance(error, json.JSONDecodeError) and not error.doc[error.pos :].strip():
        return f"is cut off: its JSON ends after {len(data):,} bytes in the middle. {remedy}"
    if isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated string"):
        return f"is cut off: its JSON ends after {len(data):,} bytes in a string. {remedy}"
    return f"cannot be read as JSON ({error}). {remedy}"
