"""CSV and TSV as programs write them: separators, quotes, escapes, and quotes without an end."""

import csv
import gzip
from pathlib import Path

import pytest

from sentiment_ray.errors import DataError
from tests.data.raw_rows import GOOD, format_rows, read, reasons, texts_and_labels, write


@pytest.mark.parametrize("line", ["sep=,", "sep = ;", '"sep=;"', "SEP=\t", "sep=|"])
def test_a_line_that_names_a_separator_may_be_wrong(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.csv", f"{line}\r\n" + format_rows(GOOD, delimiter=";"))
    assert texts_and_labels(read(path)) == GOOD


@pytest.mark.parametrize(
    ("mark", "flag"),
    [("^", "--separator '^'"), ("~", "--separator '~'"), ("\x01", r"--separator '\\x01'"), (":", "--separator ':'"),
     ("\x1f", r"--separator '\\x1f'"), ("::", "'::'. Replace that by one character"), ("^^", "Replace that by one")],
)  # fmt: skip
def test_another_separator_is_named_with_its_key(tmp_path: Path, mark: str, flag: str) -> None:
    lines = [f"{text}{mark}{label}" for text, label in [("text", "label"), *GOOD]]
    path = write(tmp_path / "a.csv", "\n\n" + "\n".join(lines))
    with pytest.raises(DataError, match="its columns seem to be separated by") as refused:
        read(path)
    assert flag.replace("\\\\", "\\") in str(refused.value)
    if len(mark) == 1:
        value = str(refused.value).partition("--separator '")[2].partition("'")[0]
        assert texts_and_labels(read(path, separator=value)) == GOOD, "the value that the message gives"


def test_a_quote_may_follow_blanks_behind_a_separator(tmp_path: Path) -> None:
    rows = [("good, really", "positive"), ('"bad"', "negative"), ("two\nlines", "neutral"), ("  so", "neutral")]
    cells = [[f'"{cell}"' for cell in (text.replace('"', '""'), label)] for text, label in rows]
    content = "text, label\n" + "".join(", ".join(row) + "\n" for row in cells)
    assert texts_and_labels(read(write(tmp_path / "a.csv", content))) == rows
    swapped = "label, text\n" + "".join(", ".join(reversed(row)) + "\n" for row in cells)
    assert texts_and_labels(read(write(tmp_path / "b.csv", swapped))) == rows
    plain = "text, label\nhe said, positive\n a, neutral\n"
    assert texts_and_labels(read(write(tmp_path / "c.csv", plain))) == [("he said", " positive"), (" a", " neutral")]


@pytest.mark.parametrize(
    "header", ["0,1467810369,Mon Apr 06,a tweet", "fine,positive", "5,a review", f"{'long ' * 20},x"]
)
def test_a_file_without_a_header_is_told_to_get_one(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match="If its first line is a row, write a line with the names of the columns above"):
        read(write(tmp_path / "a.csv", f"{header}\n{header}\n"))


def test_labels_as_columns_are_recognised(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,Negative,neutral,positive\nfine,0,0,1\n")
    with pytest.raises(DataError, match="If 'Negative', 'neutral', 'positive' hold a 1 in the rows of a label, write"):
        read(path)


def test_a_header_in_an_unknown_encoding_names_the_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", format_rows(GOOD).encode("cp500"))
    with pytest.raises(DataError, match="its header is invalid UTF-8.* Name the encoding of the file with --encoding"):
        read(path)
    assert texts_and_labels(read(path, encoding="cp500")) == GOOD


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "tabs.csv"])
def test_a_quote_between_tabs_is_a_letter(tmp_path: Path, name: str) -> None:
    texts = ['"cut off', "fine", 'the end"', '"wow" a', '5" screen', '""', '"', "a\rb", "x, y", '"whole"']
    content = "text\tlabel\n" + "".join(f"{text}\tpositive\n" for text in texts)
    path = write(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    rows = read(path)
    assert [row["text"] for row in rows] == texts
    assert [row["row"] for row in rows] == list(range(2, 2 + len(texts)))
    assert {row["reason"] for row in rows} == {None}


@pytest.mark.parametrize(
    "rows",
    [
        [("two\nlines", "positive"), *GOOD],
        [("a\ttab", "positive"), *GOOD],
        [('she said "no"', "positive"), *GOOD],
    ],
    ids=["line break", "tab", "doubled quote"],
)
def test_a_tsv_whose_cells_are_in_quotes_is_read_with_the_key_and_otherwise_refused(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    path = write(tmp_path / "a.tsv", format_rows(rows, delimiter="\t"))
    with pytest.raises(
        DataError, match="""its cells seem to be in quotes. Pass --quote '"' if they are, or --quote none"""
    ):
        read(path)
    assert texts_and_labels(read(path, quote='"')) == rows
    assert len(read(path, quote="none")) >= len(rows)


def test_a_tsv_with_all_cells_in_quotes_is_refused_even_if_its_column_names_are_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", format_rows(GOOD, delimiter="\t", quoting=csv.QUOTE_ALL))
    with pytest.raises(DataError, match="its cells seem to be in quotes"):
        read(path)
    assert texts_and_labels(read(path, quote='"')) == GOOD


@pytest.mark.parametrize(
    "line",
    ['"open', 'a "b"', '"a" b', '"a\tb\tpositive'],
    ids=["no end", "inside", "a word", "no end and a tab"],
)
def test_one_stray_quote_shows_that_a_tsv_has_no_quoted_cells(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.tsv", f'text\tlabel\n{line}\tpositive\n"she said ""no"""\tnegative\n')
    assert len(read(path)) == 2


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("text;label", "fine, well;positive"),
        ("label|text", "positive|fine, well"),
        ("text\tlabel", "fine, well\tpositive"),
        ('"id";"text";"label"', '1,5;"fine, well";positive'),
        ("sep=;\r\ntext;label", "fine, well;positive"),
        ("SEP=|\ntext|label", "fine, well|positive"),
        (" text ; label", "fine, well;positive"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_the_header_shows_the_separator(tmp_path: Path, ending: str, header: str, row: str) -> None:
    path = write(tmp_path / f"a.{ending}", f"\ufeff{header}\r\n{row}\r\n")
    assert texts_and_labels(read(path)) == [("fine, well", "positive")]
    assert reasons(read(path)) == {3 if "=" in header else 2: None}


def test_semicolons_go_with_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text;label\nfine, 4,5;4,5\nso so;-3,25\nbad;1\n")
    labels = [row["label"] for row in read(path, cut_points=[2, 4])]
    assert labels == ["4.5", "-3.25", "1"]
    assert [row["label"] for row in read(path)] == ["4,5", "-3,25", "1"]
    assert read(path)[0]["text"] == "fine, 4,5"


def test_a_separator_is_not_taken_while_the_usual_one_gives_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label,a;b;text;label\nfine;well,positive,c\n")
    assert texts_and_labels(read(path)) == [("fine;well", "positive")]


def test_a_header_with_another_separator_is_named_by_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id;review;rating\n1;fine;5\n")
    with pytest.raises(DataError, match="'text' is missing \\(found: 'id', 'review', 'rating'\\)"):
        read(path)
    assert texts_and_labels(read(path, text_column=["review"], label_column="rating")) == [("fine", "5")]


@pytest.mark.parametrize(
    ("keys", "content"),
    [
        ({"separator": "^"}, "text^label\na,b^positive\n"),
        ({"separator": "\x01"}, "text\x01label\na,b\x01positive\n"),
        ({"separator": "tab"}, "text\tlabel\na,b\tpositive\n"),
        ({"quote": "'"}, "text,label\n'a,b',positive\n"),
        ({"separator": "¦", "quote": "'"}, "text¦label\n'a,b'¦positive\n"),
        ({"quote": "none", "escape": "\\"}, "text,label\na\\,b,positive\n"),
        ({"escape": "\\", "separator": ";"}, 'text;label\n"a,b";positive\n'),
        ({"escape": '"'}, 'text,label\n"a,b",positive\n'),
    ],
)
def test_keys_name_the_separator_the_quote_and_the_escape(tmp_path: Path, keys: dict[str, str], content: str) -> None:
    assert texts_and_labels(read(write(tmp_path / "a.csv", content), **keys)) == [("a,b", "positive")]


def test_without_quotes_a_csv_keeps_them_as_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"wow" so,positive\n"open,negative\n')
    assert texts_and_labels(read(path, quote="none")) == [('"wow" so', "positive"), ('"open', "negative")]


SPARK_TEXTS = [
    'she said "no", and left', r"C:\new, or \d", "ends with a backslash" "\\", r"two \\ slashes", r'a "quoted\" x',
    'line1\nline2, "q"', "comma, only", '"', r"\"", "\\", 'x\\\ny "z"', '5" screen', r"a\,b", "x",
]  # fmt: skip


SPARK_FILE = r"""text,label
"she said \"no\", and left",positive
"C:\\new, or \\d",positive
ends with a backslash\,positive
two \\ slashes,positive
"a \"quoted\\\" x",positive
"line1
line2, \"q\"",positive
"comma, only",positive
"\"",positive
"\\\"",positive
\,positive
"x\\
y \"z\"",positive
"5\" screen",positive
"a\\,b",positive
x,positive
"""


def test_a_csv_is_read_as_spark_wrote_it(tmp_path: Path) -> None:
    """Spark 4 wrote this file from these texts, and reads them from it."""
    path = write(tmp_path / "a.csv", SPARK_FILE)
    assert [row["text"] for row in read(path, escape="\\")] == SPARK_TEXTS
    semicolons = SPARK_FILE.replace(",positive", ";positive").replace("text,label", "text;label")
    assert [row["text"] for row in read(write(path, semicolons), escape="\\")] == SPARK_TEXTS


SPARK = 'text,label\n"she said \\"no\\", and left",negative\n"C:\\new, or \\d",neutral\n"a \\\\",positive\n'


def test_backslashes_before_quotes_are_read_with_the_key_and_otherwise_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", SPARK)
    with pytest.raises(DataError, match=r"it has backslashes before quotes, as Spark writes them. Pass --escape '\\'"):
        read(path)
    assert [row["text"] for row in read(path, escape="\\")] == ['she said "no", and left', "C:\\new, or \\d", "a \\"]
    assert reasons(read(path, escape="none"))[2] is not None


def test_a_quote_that_is_never_closed_takes_in_no_rows(tmp_path: Path) -> None:
    lines = [f"review {number},{'positive' if number % 2 else 'negative'}" for number in range(200)]
    lines[0] = f'"{lines[0]}'
    lines[9] = lines[9].replace(",", '",')
    lines[150] = f'"{lines[150]}'
    lines[151] = lines[151].replace(",", '",')
    rows = read(write(tmp_path / "a.csv", "\n".join(["text,label", *lines, ""])))
    assert len(rows) == 200
    assert {number for number, reason in reasons(rows).items() if reason} == {2, 152}
    assert reasons(rows)[2] == "not CSV: a quote has no end before the next row"
    assert not any("\n" in row["text"] for row in rows if row["text"])


@pytest.mark.parametrize(
    "text",
    [
        "Dear all,\nI like it, and so do you\nYours, me",
        "a list:\n1, good\n2, bad\n3, so so",
        "positive, negative\nneutral, positive",
        "line\n" * 500,
        "x,y\n\nx,y",
    ],
)
@pytest.mark.parametrize("names", ["text,label", "label,text"])
def test_a_text_of_many_lines_is_one_row(tmp_path: Path, text: str, names: str) -> None:
    rows = [("good", "1"), ("bad", "2"), ("so so", "3"), (text, "1"), (f"again: {text}", "2")]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names.split(","))
        writer.writeheader()
        writer.writerows({"text": text, "label": label} for text, label in rows)
    assert texts_and_labels(read(tmp_path / "a.csv")) == rows
