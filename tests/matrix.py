"""Run the tests on each Airflow and Python that the provider is for, in environments of their own: `make matrix`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
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

# What touches neither Airflow nor SQLAlchemy, and takes time: `make test` runs it.
LEFT_TO_MAKE_TEST = (
    "unit/sandbox/*",
    "unit/test_account_properties.py",
    "unit/api/test_protocol_properties.py",
    "unit/test_reservation.py",
    "unit/sql/test_reservations_model.py",
)
# What touches other libraries, and nothing of Airflow's, runs where Row.has_libraries says so: with the lowest versions
# that pyproject.toml names, with those in between, and on the newest Python.
ON_LIBRARIES = (
    "leaks/test_a_call_tells_no_key.py",
    "unit/api/*",
    "unit/test_account*.py",
    "unit/test_example_alerts.py",  # of Airflow's mails: three versions tell as much as seven
    "unit/test_metrics.py",
    "unit/test_packaging.py",
)
# What touches databases takes longest: it runs once with SQLAlchemy 1.4 and 2.0, and in `make test` with 2.1.
ON_DATABASES = (
    "integration/*",
    "unit/sql/test_errors.py",
    "unit/sql/test_snapshots.py",
    "unit/sql/test_snapshot_properties.py",
    "unit/sql/test_analysts_queries.py",
)
OLDEST_PYTHON = "3.11"
SOME_FAILED = 1
"""pytest's exit status."""

SETTINGS = {
    # Else Python would take the package from the working directory, and not from the wheel.
    "PYTHONSAFEPATH": "1",
    # Where it is set to something, each process compiles all of Airflow again, for seconds.
    "PYTHONDONTWRITEBYTECODE": "",
}


@dataclass(frozen=True)
class Row:
    """
    One environment.

    :param as_of: the day of which its packages are, for an Airflow that is not the newest
    :param also: packages that its tests need besides
    :param has_libraries: whether it runs what is about other libraries alone
    :param has_databases: whether it runs what is about databases alone
    """

    airflow: str
    python: str = OLDEST_PYTHON
    as_of: str | None = None
    also: tuple[str, ...] = ()
    is_lowest: bool = False
    has_libraries: bool = False
    has_databases: bool = False

    @property
    def name(self) -> str:
        return f"{'lowest' if self.is_lowest else self.airflow}-py{self.python}"

    @property
    def constraints(self) -> Path:
        if self.as_of is None:
            return ROOT / "constraints" / "dev.txt"
        return ROOT / "constraints" / f"airflow-{'lowest' if self.is_lowest else self.airflow}.txt"

    @property
    def environment(self) -> Path:
        return ENVIRONMENTS / self.name

    @property
    def interpreter(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def left_to_others(self) -> tuple[str, ...]:
        """Return the files of tests that say no more here than they do in another row, or in `make test`."""
        left = LEFT_TO_MAKE_TEST + (() if self.has_libraries else ON_LIBRARIES)
        return left + (() if self.has_databases else ON_DATABASES)


ROWS = (
    # The lowest version of everything that pyproject.toml names.
    Row("2.11.0", as_of="2025-06-15", is_lowest=True, has_libraries=True, has_databases=True),
    Row("2.11.2", as_of="2026-03-31"),
    # Its connection form needs the FAB provider.
    Row("3.0.6", as_of="2025-09-15", also=("apache-airflow-providers-fab",)),
    Row("3.1.8", as_of="2026-03-31"),
    Row("3.2.2", as_of="2026-06-01", has_libraries=True, has_databases=True),
    # With Python 3.11 `make test` runs it, and the system tests from the wheel.
    Row("3.3.2", python="3.12"),
    Row("3.3.2", python="3.13", has_libraries=True),
)


@dataclass
class Outcome:
    """What became of a row: why it was left out, or what is installed and how its tests ended."""

    left_out: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    passed_alone: tuple[str, ...] = ()
    seconds: float = 0
    exit_status: int = 0


def main() -> int:
    """Compile the constraints, or run the rows whose names hold one of the arguments, or all of them."""
    if sys.argv[1:] == ["--compile"]:
        for row in ROWS:
            compile_constraints(row)
        return 0
    rows = [row for row in ROWS if not sys.argv[1:] or any(part in row.name for part in sys.argv[1:])]
    if not rows:
        raise SystemExit(f"No row is called so: there are {', '.join(row.name for row in ROWS)}")
    start = time.monotonic()
    wheel = build_wheel()
    with ThreadPoolExecutor(1) as installing:  # while the row before is tested
        ready = [installing.submit(set_up, row, wheel) for row in rows]
        outcomes = {}
        for row, environment in zip(rows, ready, strict=True):
            outcomes[row] = run_tests(row, outcome) if not (outcome := environment.result()).left_out else outcome
    show(outcomes, time.monotonic() - start)
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
        must_be_there = os.environ.get("CI") == "true" and row.python == OLDEST_PYTHON
        return Outcome(left_out=f"there is no Python {row.python} on this machine", exit_status=int(must_be_there))
    install = [UV, "pip", "install", "--quiet", "--python", row.interpreter]
    stamp = row.environment / ".ready"
    wanted = hashlib.sha256(row.constraints.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        make = [UV, "venv", "--quiet", "--no-project", "--clear", "--python", python, row.environment]
        subprocess.run(make, check=True)
        subprocess.run([*install, "--require-hashes", "-r", row.constraints], check=True)
        stamp.write_text(wanted)
    # The tests import each other. After site-packages, the repository's package does not stand before the wheel's.
    (row.environment / "lib" / f"python{row.python}" / "site-packages" / "tests.pth").write_text(str(ROOT))
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
    """Return the versions that count, after a look at what is really installed, and at what the tests will import."""
    program = (
        "import airflow_provider_smspartner, json, platform; from importlib.metadata import distributions;"
        "installed = {each.name.lower(): each.version for each in distributions()};"
        "package = airflow_provider_smspartner.__file__;"
        "print(json.dumps(installed | {'python': platform.python_version(), 'package': package}))"
    )
    command = [row.interpreter, "-c", program]
    looked = subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS, capture_output=True, check=True)
    installed = json.loads(looked.stdout)
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", row.constraints.read_text(), re.MULTILINE))
    wanted = {name.lower(): pinned[name.lower()] for name in TOLD} | {"apache-airflow": row.airflow}
    if row.is_lowest:
        wanted |= dict(pin.split("==") for pin in lowest_versions())
    wrong = {name: installed.get(name) for name, version in wanted.items() if installed.get(name) != version}
    if wrong or not installed["python"].startswith(f"{row.python}."):
        raise SystemExit(f"{row.name} should hold {wanted} on Python {row.python}, and holds {wrong}")
    if not Path(installed["package"]).is_relative_to(row.environment):
        raise SystemExit(f"{row.name} should test what the wheel installed, and imports {installed['package']}")
    return {name: installed[name.lower()] for name in ("python", *TOLD)}


def run_tests(row: Row, outcome: Outcome) -> Outcome:
    """Run the tests in a row's environment, and count how they ended."""
    print(f"{row.name}: ", end="", flush=True)
    report, log = (ENVIRONMENTS / f"{row.name}.{ending}" for ending in ("xml", "log"))
    cache = ENVIRONMENTS / f"{row.name}.cache"
    command = [row.interpreter, "-m", "pytest", "-q", "-rfEs", "--tb=short", "-o", f"cache_dir={cache}"]
    command += [f"--ignore-glob={ROOT / 'tests' / name}" for name in row.left_to_others]
    side_by_side = ["--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal", f"--junitxml={report}"]
    report.unlink(missing_ok=True)
    shutil.rmtree(cache, ignore_errors=True)
    start = time.monotonic()
    outcome.exit_status = run([*command, *side_by_side], log)
    if report.exists():  # it is written last
        count(report, outcome)
    if outcome.exit_status == SOME_FAILED:
        failed = tuple(json.loads((cache / "v" / "cache" / "lastfailed").read_text()))
        print(log.read_text())
        # Servers that several processes load at once have their moments. What fails alone, too, is a failure.
        outcome.exit_status = run([*command, "--last-failed"], log)
        outcome.passed_alone = () if outcome.exit_status else failed
    outcome.seconds = time.monotonic() - start
    told = ", ".join(f"{number} {ending}" for ending, number in outcome.counts.items()) or "no report"
    print(f"{told}, exit status {outcome.exit_status}, {outcome.seconds:.0f} s", flush=True)
    if outcome.exit_status:
        print(log.read_text())
    return outcome


def run(command: list[str | Path], log: Path) -> int:
    """Run pytest with all that it prints in a file, and return its exit status."""
    with log.open("w") as file:
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | SETTINGS, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode


def count(report: Path, outcome: Outcome) -> None:
    """Count passed, failed and skipped tests, and the skips by their reasons."""
    for test in ET.parse(report).iter("testcase"):
        skipped = test.find("skipped")
        failed = test.find("failure") is not None or test.find("error") is not None
        outcome.counts["failed" if failed else "passed" if skipped is None else "skipped"] += 1
        if skipped is not None:
            whole_file = re.search("Skipped: ([^'\"]+)", skipped.text or "")
            outcome.skips[whole_file[1] if whole_file else skipped.get("message", "")] += 1


def show(outcomes: dict[Row, Outcome], seconds: float) -> None:
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
    print(f"\nall of it took {timedelta(seconds=round(seconds))}, environments and all")
    for row, outcome in outcomes.items():
        for test in outcome.passed_alone:
            print(f"failed beside others, passed alone: {row.name} {test}")
    for reason in sorted({reason for outcome in outcomes.values() for reason in outcome.skips}):
        where = [f"{row.name} {each.skips[reason]}" for row, each in outcomes.items() if each.skips[reason]]
        print(f"skipped: {reason}: {', '.join(where)}")


if __name__ == "__main__":
    sys.exit(main())
