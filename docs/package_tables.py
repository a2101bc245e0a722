"""Write the tables of requirements, extras and options from what declares them: ``python -m docs.package_tables``."""

from __future__ import annotations

import csv
import io
import re
import tomllib
from pathlib import Path

from airflow_provider_smspartner.get_provider_info import get_provider_info

PAGE = Path(__file__).parent
PROJECT = tomllib.loads((PAGE.parent / "pyproject.toml").read_text())["project"]


def tables() -> dict[str, str]:
    """Return the files, by their names."""
    return {"requirements.csv": _requirements(), "extras.csv": _extras(), "configuration.csv": _options()}


def _requirements() -> str:
    split = [re.fullmatch(r"([\w.-]+)(.*)", requirement) for requirement in PROJECT["dependencies"]]
    return _csv(("package", "version"), *((f"``{one[1]}``", one[2].replace(",", ", ")) for one in split if one))


def _extras() -> str:
    extras = PROJECT["optional-dependencies"]
    return _csv(
        ("extra", "brings"),
        *((f"``{name}``", ", ".join(f"``{each}``" for each in brought)) for name, brought in extras.items()),
    )


def _options() -> str:
    options = get_provider_info()["config"]["smspartner"]["options"]
    rows = [
        (_literal(name), _literal(option["default"]), _literal(option["example"]), option["description"])
        for name, option in options.items()
    ]
    return _csv(("option", "default", "example", "meaning"), *rows)


def _literal(text: str | None) -> str:
    return f"``{text}``" if text else ""


def _csv(*rows: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    for name, text in tables().items():
        (PAGE / name).write_text(text)
