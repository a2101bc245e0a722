"""The page of error sentences against the sentences in the code: neither has one that the other lacks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_smspartner.sql.errors import KIND_OF_TEXT

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_smspartner"
PAGE = (ROOT / "docs" / "troubleshooting.rst").read_text()
TOLD = re.findall(r"^``(.+)``\n    \S", PAGE, re.MULTILINE)
"""The sentences on the page, with … for what differs from case to case."""

ELSEWHERE = {
    "cli.py",  # its own --help tells
    "clickhouse.py",  # SQL
    "credit_page.py",  # a label
    "get_provider_info.py",  # labels of the form
    "headers.py",  # for browsers
    "links.py",  # a label
    "sandbox",  # speaks to the author of a test, who sees the arguments
    "secrecy.py",  # patterns
    "upserts.py",  # SQL
}
NEVER_TOLD = {*KIND_OF_TEXT, "Unknown hook type", "Tunnel connection failed: 407"}
"""What the code looks for in the texts of others."""


def literals() -> set[str]:
    """Return what the package may tell, cut where something is filled in."""
    modules = [
        ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if not ELSEWHERE & {path.name, path.parent.name}
    ]
    texts = {text for module in modules for text in strings(module)} - NEVER_TOLD
    return {part.strip() for text in texts for part in re.split(r"%(?:\.1)?[dfrs]|\n", text) if part.strip()}


def strings(module: ast.Module) -> Iterator[str]:
    """Yield the strings of a module, without its docstrings and what only a debug log shows."""
    nodes = list(ast.walk(module))
    unseen = [node for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    # Of a metric the page of metrics tells.
    unseen += [node for node in calls if re.fullmatch(r".*\.debug|Metric", ast.unparse(node.func))]
    skipped = {id(constant) for node in unseen for constant in ast.walk(node)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def test_the_page_has_every_sentence_of_the_code() -> None:
    sentences = {text for text in literals() if sum(bool(re.search("[A-Za-z]", word)) for word in text.split()) >= 3}
    assert len(sentences) > 80
    assert sorted(text for text in sentences if not any(text in told for told in TOLD)) == []


def test_the_code_has_every_sentence_of_the_page() -> None:
    known = sorted(literals(), key=len, reverse=True)
    assert len(TOLD) > 80
    assert {told: left for told in TOLD if (left := what_is_not_of(known, told))} == {}


def what_is_not_of(known: list[str], told: str) -> str:
    """Return the words of a sentence that the code does not spell."""
    for text in known:
        told = re.sub(r"\b" * text[0].isalnum() + re.escape(text) + r"\b" * text[-1].isalnum(), "…", told)
    return " ".join(re.findall(r"[A-Za-z]+", told))


def test_every_sentence_stands_on_the_page_once() -> None:
    assert sorted(told for told in set(TOLD) if TOLD.count(told) > 1) == []
