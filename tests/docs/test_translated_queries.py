"""The analysts' queries of each database are what sqlglot makes of PostgreSQL's, and its parser takes each of them."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from tests.analysts import FOLDERS, PAGE, QUERIES

spec = spec_from_file_location("translate", PAGE / "translate.py")
translate = module_from_spec(spec)
spec.loader.exec_module(translate)

WRITTEN = dict(translate.files())
TRANSLATED = [path for path in WRITTEN if path.suffix == ".sql"]


def test_each_file_is_what_the_script_writes_and_there_is_no_other() -> None:
    assert {path: path.read_text() for path in WRITTEN} == WRITTEN
    others = {path for path in PAGE.glob("*/*.sql") if path.parent.name != "standard"} | set(PAGE.glob("*.tabs"))
    assert others == set(WRITTEN)


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_translation_parses_and_returns_the_columns_of_the_page(path: Path) -> None:
    (tree,) = sqlglot.parse(path.read_text(), read=translate.DATABASES[path.parent.name].dialect)
    header = (PAGE / f"{path.stem}.csv").read_text().partition("\n")[0]
    assert [column.alias_or_name for column in tree.selects] == header.split(",")
    # A call that sqlglot does not know is one of the words that the script puts in.
    script = (PAGE / "translate.py").read_text()
    assert [call.name for call in tree.find_all(exp.Anonymous) if f"{call.name}(" not in script] == []


def test_a_database_that_no_test_runs_says_so_in_its_tab() -> None:
    run = {*FOLDERS.values()}
    says_so = {folder for folder, database in translate.DATABASES.items() if translate.NOT_RUN in database.tried}
    assert says_so == set(translate.DATABASES) - run
    page = " ".join((PAGE / "index.rst").read_text().split())
    titles = [translate.DATABASES[folder].title for folder in translate.DATABASES if folder in says_so]
    assert f"**{', '.join(titles[:-1])} and {titles[-1]} are translated and parsed only**" in page


def test_every_query_of_the_page_is_translated_for_every_database() -> None:
    assert {(path.parent.name, path.stem) for path in TRANSLATED} >= {
        (folder, query) for folder in translate.DATABASES for query in QUERIES
    }
