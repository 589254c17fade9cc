"""Whether a text shows anything to a reader; knows nothing but strings."""

import re

VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u2800"  # white space, controls, the empty Braille pattern
    # The characters that Unicode calls default ignorable, such as the zero-width space and the byte order mark:
    # https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def is_blank(text: str) -> bool:
    """Return whether a text holds nothing but white space and invisible characters."""
    return not VISIBLE.search(text)
