"""Tables of the documentation that are written from code: the text of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """Return the rows, the header first, as a CSV file holds them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
