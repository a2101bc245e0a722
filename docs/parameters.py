"""The directive ``parameters``: the table of a class's parameters, out of its signature and its docstring."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils.nodes import Node

PACKAGE = "airflow_provider_smspartner"
TEMPLATED = re.compile(r"\s*\(templated\)")


def parameters_of(name: str) -> list[tuple[str, str, str, bool]]:
    """Return name, default and meaning of each parameter that a class documents, and whether it is a template."""
    module, _, attribute = name.rpartition(".")
    documented = getattr(import_module(f"{PACKAGE}.{module}"), attribute)
    given = inspect.signature(documented).parameters
    told = re.findall(r"^:param (\w+): (.+?)(?=^:|\Z)", inspect.getdoc(documented) or "", re.MULTILINE | re.DOTALL)
    rows = []
    for parameter, text in told:
        meaning = " ".join(text.split())
        default = _default(given[parameter]) if parameter in given else ""
        rows.append((parameter, default, TEMPLATED.sub("", meaning), bool(TEMPLATED.search(meaning))))
    return rows


class Parameters(SphinxDirective):
    """Put the table where the directive stands."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """Return the table as it would be written by hand."""
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 22 14 64", ""]
        lines += ["   * - parameter", "     - default", "     - meaning"]
        for name, default, meaning, is_templated in parameters_of(self.arguments[0]):
            sentence = f"{meaning[0].upper()}{meaning[1:]}{'' if meaning.endswith('.') else '.'}"
            sentence += " Templated." if is_templated else ""
            lines += [f"   * - ``{name}``", f"     - {default}", f"     - {sentence}"]
        return self.parse_text_to_nodes("\n".join(lines))


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    return f"``{_told(parameter.default)}``"


def _told(value: Any) -> str:
    if isinstance(value, timedelta):
        hours, seconds = divmod(value.total_seconds(), 3600)
        return f"{hours:g} hours" if not seconds else f"{value.total_seconds():g} seconds"
    return repr(value.value if isinstance(value, Enum) else value)
