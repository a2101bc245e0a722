"""How Sphinx builds this documentation: offline, every warning an error, every name of this package resolved."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from airflow_provider_smspartner import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "airflow-provider-smspartner"
author = "airflow-provider-smspartner contributors"
project_copyright = author
release = version = __version__

# Airflow, which autodoc imports, makes folders in its home.
_airflow_home = TemporaryDirectory()
os.environ |= {"AIRFLOW_HOME": _airflow_home.name, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
logging.getLogger("airflow").setLevel(logging.WARNING)

# Where this file's neighbours are found.
sys.path.insert(0, str(Path(__file__).parents[1]))
extensions = ["sphinx.ext.autodoc", "sphinx_design"]
highlight_language = "none"
nitpicky = True
# Other projects' names, for whose links a build would have to reach their sites; and aliases, which have no page.
nitpick_ignore_regex = [
    ("py:class", r"(airflow|collections|datetime|decimal)\..*|Session|Decimal|timedelta|Amount|Direction|OnRerun")
]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"

toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"SMS Partner for Apache Airflow {__version__}"
html_static_path = ["_static"]
html_css_files = ["wide-tables.css"]
html_copy_source = False
html_show_sphinx = False
html_domain_indices = False


def _read_markdown(_: Sphinx, path: Path, __: str, content: list[str]) -> None:
    """Turn the Markdown that our changelog is written in into reST, whenever a page includes such a file."""
    if path.suffix != ".md":
        return
    text = re.sub(r"`([^`]+)`", r"``\1``", content[0])
    text = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"`\1 <\2>`__", text)
    underlines = {"#": "=", "##": "-", "###": "^"}
    content[0] = re.sub(
        r"^(#{1,3}) (.+)$", lambda line: f"{line[2]}\n{underlines[line[1]] * len(line[2])}\n", text, flags=re.MULTILINE
    )


def setup(app: Sphinx) -> None:
    """Have the changelog read, and the tables of parameters made."""
    from docs.parameters import Parameters

    app.connect("include-read", _read_markdown)
    app.add_directive("parameters", Parameters)
