"""Write the tables of requirements, extras and options from what declares them: ``python -m docs.package_tables``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from airflow_provider_smspartner.get_provider_info import get_provider_info
from docs.csv_tables import csv_text

PAGE = Path(__file__).parent
PROJECT = tomllib.loads((PAGE.parent / "pyproject.toml").read_text())["project"]


def tables() -> dict[str, str]:
    """Return the files, by their names."""
    return {"requirements.csv": _requirements(), "extras.csv": _extras(), "configuration.csv": _options()}


def _requirements() -> str:
    split = [re.fullmatch(r"([\w.-]+)(.*)", requirement) for requirement in PROJECT["dependencies"]]
    rows = [(_literal(one[1]), one[2].replace(",", ", ")) for one in split if one]
    return csv_text([("package", "version"), *rows])


def _extras() -> str:
    extras = PROJECT["optional-dependencies"]
    rows = [(_literal(name), ", ".join(map(_literal, brought))) for name, brought in extras.items()]
    return csv_text([("extra", "brings"), *rows])


def _options() -> str:
    options = get_provider_info()["config"]["smspartner"]["options"]
    rows = [
        (_literal(name), _literal(option["default"]), _literal(option["example"]), option["description"])
        for name, option in options.items()
    ]
    return csv_text([("option", "default", "example", "meaning"), *rows])


def _literal(text: str | None) -> str:
    return f"``{text}``" if text else ""


if __name__ == "__main__":
    for name, text in tables().items():
        (PAGE / name).write_text(text)
