"""Run the tests on each Airflow and Python that the provider is for, in environments of their own: `make matrix`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-matrix"
UV = Path(sys.executable).with_name("uv")
TOLD = ("apache-airflow", "SQLAlchemy", "apache-airflow-providers-common-compat")

# An old Airflow starts only with what there was in its days, but for what we, or our tests, need newer.
NEWER = ("common-compat", "common-sql", "duckdb", "postgres")
NEWER_UNTIL = "2026-11-22"

# What touches neither Airflow nor SQLAlchemy, and takes time, runs on the newest Airflow alone.
ON_THE_NEWEST_ONLY = ("test_sandbox.py", "test_account_properties.py", "test_protocol_properties.py")


@dataclass(frozen=True)
class Row:
    """
    One environment.

    :param as_of: the day of which its packages are, for an Airflow that is not the newest
    :param also: packages that its tests need besides
    """

    airflow: str
    python: str = "3.11"
    as_of: str | None = None
    also: tuple[str, ...] = ()
    is_lowest: bool = False

    @property
    def name(self) -> str:
        return f"{'lowest' if self.is_lowest else self.airflow}-py{self.python}"

    @property
    def constraints(self) -> Path:
        if self.as_of is None:
            return ROOT / "constraints" / "dev.txt"
        return ROOT / "constraints" / f"airflow-{'lowest' if self.is_lowest else self.airflow}.txt"

    @property
    def interpreter(self) -> Path:
        return ENVIRONMENTS / self.name / "bin" / "python"


ROWS = (
    # The lowest version of everything that pyproject.toml names.
    Row("2.11.0", as_of="2025-06-15", is_lowest=True),
    Row("2.11.2", as_of="2026-03-31"),
    # Its connection form needs the FAB provider.
    Row("3.0.6", as_of="2025-09-15", also=("apache-airflow-providers-fab",)),
    Row("3.1.8", as_of="2026-03-31"),
    Row("3.2.2", as_of="2026-06-01"),
    Row("3.3.2"),
    Row("3.3.2", python="3.12"),
    Row("3.3.2", python="3.13"),
)


@dataclass
class Outcome:
    """What became of a row: why it was left out, or what is installed and how its tests ended."""

    left_out: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    seconds: float = 0
    exit_status: int = 0


def main() -> int:
    """Compile the constraints, or run the rows whose names hold one of the arguments, or all of them."""
    if sys.argv[1:] == ["--compile"]:
        for row in ROWS:
            compile_constraints(row)
        return 0
    rows = [row for row in ROWS if not sys.argv[1:] or any(part in row.name for part in sys.argv[1:])]
    wheel = build_wheel()
    with ThreadPoolExecutor(1) as installing:  # while the row before is tested
        ready = [installing.submit(set_up, row, wheel) for row in rows]
        outcomes = {}
        for row, environment in zip(rows, ready, strict=True):
            outcomes[row] = run_tests(row, outcome) if not (outcome := environment.result()).left_out else outcome
    show(outcomes)
    return int(any(outcome.exit_status for outcome in outcomes.values()))


def compile_constraints(row: Row) -> None:
    """Resolve what goes with an old Airflow, as of its days, into constraints/."""
    if row.as_of is None:
        return  # dev.txt, which `make constraints` has made
    given = [*(lowest_versions() if row.is_lowest else [f"apache-airflow=={row.airflow}"]), *row.also]
    newer = [*(f"apache-airflow-providers-{name}" for name in NEWER), "pytest", "pytest-asyncio"]
    command = [UV, "pip", "compile", "--no-config", "--quiet", "--upgrade", "--generate-hashes"]
    command += ["--python-version", row.python, "--python-platform", "linux", "--annotation-style", "line"]
    command += ["--custom-compile-command", "make constraints", "--exclude-newer", row.as_of]
    command += [part for name in newer for part in ("--exclude-newer-package", f"{name}={NEWER_UNTIL}")]
    command += ["-", "pyproject.toml", "--group", "test", "-o", row.constraints.relative_to(ROOT)]
    subprocess.run(command, cwd=ROOT, input="\n".join(given), text=True, check=True, stdout=subprocess.DEVNULL)


def lowest_versions() -> list[str]:
    """Return the lower bounds that pyproject.toml declares, as pins."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [re.sub(r">=([\w.]+).*", r"==\1", dependency) for dependency in declared]


def build_wheel() -> Path:
    """Build the package as it is now: every row installs the same wheel."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-qq", "--outdir", ENVIRONMENTS / "dist"]
    subprocess.run(command, cwd=ROOT, check=True)
    return max((ENVIRONMENTS / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)


def set_up(row: Row, wheel: Path) -> Outcome:
    """Make a row's environment, unless it is there, and see that it holds the versions that it stands for."""
    python = find_python(row.python)
    if python is None:
        return Outcome(left_out=f"there is no Python {row.python} on this machine")
    install = [UV, "pip", "install", "--quiet", "--python", row.interpreter]
    stamp = ENVIRONMENTS / row.name / ".ready"
    wanted = hashlib.sha256(row.constraints.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        environment = ENVIRONMENTS / row.name
        subprocess.run([UV, "venv", "--quiet", "--no-project", "--clear", "--python", python, environment], check=True)
        subprocess.run([*install, "--require-hashes", "-r", row.constraints], check=True)
        stamp.write_text(wanted)
    subprocess.run([*install, "--no-deps", "--reinstall-package", "airflow-provider-smspartner", wheel], check=True)
    return Outcome(versions=assert_versions(row))


def find_python(version: str) -> str | None:
    """Return an interpreter of this machine; uv asks pyenv's, too, if pyenv is told to let it."""
    command = [UV, "python", "find", "--no-project", "--no-python-downloads", version]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    found = subprocess.run(
        command, env=environment | {"PYENV_VERSION": version}, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def assert_versions(row: Row) -> dict[str, str]:
    """Return the versions that count, after a look at what is really installed."""
    program = (
        "import json, platform; from importlib.metadata import distributions;"
        "installed = {each.name.lower(): each.version for each in distributions()};"
        "print(json.dumps(installed | {'python': platform.python_version()}))"
    )
    output = subprocess.run([row.interpreter, "-I", "-c", program], capture_output=True, text=True, check=True).stdout
    installed = json.loads(output)
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", row.constraints.read_text(), re.MULTILINE))
    wanted = {name.lower(): pinned[name.lower()] for name in TOLD} | {"apache-airflow": row.airflow}
    if row.is_lowest:
        wanted |= dict(pin.split("==") for pin in lowest_versions())
    wrong = {name: installed.get(name) for name, version in wanted.items() if installed.get(name) != version}
    if wrong or not installed["python"].startswith(f"{row.python}."):
        raise SystemExit(f"{row.name} should hold {wanted} on Python {row.python}, and holds {wrong}")
    return {name: installed[name.lower()] for name in ("python", *TOLD)}


def run_tests(row: Row, outcome: Outcome) -> Outcome:
    """Run the tests in a row's environment, and count how they ended."""
    print(f"{row.name}: ", end="", flush=True)
    report, log = (ENVIRONMENTS / f"{row.name}.{ending}" for ending in ("xml", "log"))
    command = [row.interpreter, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal"]
    if row.as_of is not None:
        command += [f"--ignore={ROOT / 'tests' / 'unit' / name}" for name in ON_THE_NEWEST_ONLY]
    report.unlink(missing_ok=True)
    start = time.monotonic()
    with log.open("w") as file:
        run = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False)
    outcome.seconds, outcome.exit_status = time.monotonic() - start, run.returncode
    if report.exists():  # it is written last
        count(report, outcome)
    lines = log.read_text().splitlines() or ["no word of it"]
    print(lines[-1])
    if run.returncode:
        print("\n".join(lines))
    return outcome


def count(report: Path, outcome: Outcome) -> None:
    """Count passed, failed and skipped tests, and the skips by their reasons."""
    for test in ET.parse(report).iter("testcase"):
        skipped = test.find("skipped")
        failed = test.find("failure") is not None or test.find("error") is not None
        outcome.counts["failed" if failed else "passed" if skipped is None else "skipped"] += 1
        if skipped is not None:
            outcome.skips[skipped.get("message", "")] += 1


def show(outcomes: dict[Row, Outcome]) -> None:
    """Print one table of the rows, then why tests were skipped, and where."""
    line = "{:<14} {:<8} {:<8} {:<11} {:<14} {:>7} {:>8} {:>7} {:>8}"
    told = ("row", "Python", "Airflow", "SQLAlchemy", "common-compat", "passed", "skipped", "failed", "seconds")
    print("\n" + line.format(*told))
    for row, outcome in outcomes.items():
        if outcome.left_out:
            print(f"{row.name:<14} left out: {outcome.left_out}")
            continue
        counts = [outcome.counts[name] for name in ("passed", "skipped", "failed")]
        print(line.format(row.name, *outcome.versions.values(), *counts, f"{outcome.seconds:.0f}"))
    print(f"\nall of them took {timedelta(seconds=round(sum(outcome.seconds for outcome in outcomes.values())))}")
    for reason in sorted({reason for outcome in outcomes.values() for reason in outcome.skips}):
        where = [f"{row.name} {each.skips[reason]}" for row, each in outcomes.items() if each.skips[reason]]
        print(f"skipped: {reason}: {', '.join(where)}")


if __name__ == "__main__":
    sys.exit(main())
