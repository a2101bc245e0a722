"""Reading the pages as a reader of them does: by their blocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def blocks() -> Callable[[str, str], list[str]]:
    """Return the code blocks of a page in one language: ``blocks("connection", "json")``."""

    def blocks(page: str, language: str) -> list[str]:
        text = (ROOT / "docs" / f"{page}.rst").read_text()
        found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:(?: {{4}}.*)?\n)+)", text, re.MULTILINE)
        return [dedent(block).strip() for block in found]

    return blocks


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], str]:
    """Run commands in bash, in a folder of the test's own, with this environment's programs; return what they print."""

    def shell(commands: str) -> str:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return shell
