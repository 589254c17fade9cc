"""Recognises rows of a CSV file that a quote without an end has merged into one cell; opens no file."""

from collections.abc import Iterable, Sequence

from sentiment_ray.data.readers.dialect import Dialect

MAX_LABELS = 1000


class MergeFinder:
    """Knows how a row of a file looks: its number of cells, and the labels of other rows."""

    def __init__(self, dialect: Dialect, num_cells: int, label_index: int, first_rows: Iterable[Sequence[str]]) -> None:
        self.split = dialect.split
        self.separator = dialect.separator
        self.num_cells = num_cells
        self.label_index = label_index
        self.labels: set[str] = set()
        for cells in first_rows:
            if len(cells) == num_cells:
                self.add_label(cells[label_index])

    def add_label(self, label: str | None) -> None:
        """Remember the label of a row."""
        if label and len(self.labels) < MAX_LABELS:
            self.labels.add(label)

    def are_rows(self, lines: Sequence[str]) -> bool:
        """Whether the lines of one row would be rows themselves: the first, and most of them, have a known label."""
        if self._find_label(lines[0]) not in self.labels:
            return False
        return 2 * sum(self._find_label(line) in self.labels for line in lines) > len(lines)

    def _find_label(self, line: str) -> str | None:
        """Return the label of a line that looks like a row; in prose, a blank follows a separator."""
        if line.count(self.separator) != self.num_cells - 1:
            return None
        cells = self.split(line)
        if any(cell[:1].isspace() for cell in cells[1:]):
            return None
        return cells[self.label_index]
