"""Recognises rows of a CSV file that a quote without an end has merged into one cell; opens no file."""

from collections import Counter
from collections.abc import Sequence

from sentiment_ray.data.readers.dialect import Dialect

MAX_LABELS = 1000


class MergeFinder:
    """Knows how a row of a file looks: its number of cells, and the labels of other rows."""

    def __init__(self, dialect: Dialect, num_cells: int, label_index: int, first_lines: Sequence[str]) -> None:
        self.split = dialect.split
        self.num_cells = num_cells
        self.label_index = label_index
        labels = Counter(filter(None, map(self._find_label, first_lines)))
        self.labels = {label for label, count in labels.items() if count > 1}

    def add_label(self, label: str | None) -> None:
        """Remember the label of a row."""
        if label and len(self.labels) < MAX_LABELS:
            self.labels.add(label)

    def are_rows(self, lines: Sequence[str]) -> bool:
        """Whether the lines of one row would be rows themselves: the first, and most of them, have a known label."""
        num_rows = sum(self._find_label(line) in self.labels for line in lines)
        return self._find_label(lines[0]) in self.labels and 2 * num_rows > len(lines)

    def _find_label(self, line: str) -> str | None:
        """Return the label of a line that looks like a row; in prose, a blank follows a separator."""
        cells = self.split(line)
        if len(cells) != self.num_cells or any(cell[:1].isspace() for cell in cells[1:]):
            return None
        return cells[self.label_index]
