"""Run by ``make release-check``: the wheel and the sdist that would be published, each installed alone.

Builds the sdist, and the wheel out of the sdist; looks at what is in them; installs the wheel in a fresh
environment without extras and with each extra in turn, and runs ``release_smoke.py`` there; installs the sdist
and runs its tests with it. Needs build, hatchling and twine, and a few minutes for each extra that brings torch.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from release_smoke import DEVELOPMENT

ROOT = Path(__file__).parent.parent
RUNNER = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
# Not a byte of these is for whoever installs the wheel.
KINDS = {".py", ".typed", ".html", ".css", ".js"}
# What the sdist's tests and documentation lean on, besides src.
IN_SDIST = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "constraints.txt",
            "pyproject.toml", "tests/conftest.py", "tests/golden/report.json", "docs/metrics.md",
            "docs/tutorial.ipynb", "examples/weak-start.toml", "benchmarks/README.md"}  # fmt: skip
PIP = ("-m", "pip", "--disable-pip-version-check")


def run(*command: object, cwd: Path | None = None) -> None:
    """Run a command outside the source, which must not be found by anything but what was installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([str(part) for part in command], cwd=cwd, env=environment, check=True)


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist; the wheel is made out of the sdist alone."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    run(sys.executable, "-m", "twine", "check", "--strict", *folder.iterdir())
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def faults_of_wheel(wheel: Path) -> list[str]:
    """What the wheel has too much, or lacks, compared with the source."""
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "eci").rglob("*")
              if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name for name in names if name.endswith(".dist-info/METADATA")).removesuffix("METADATA")
        metadata = archive.read(info + "METADATA").decode()
    about = {info + name for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    faults = [f"wheel lacks {name}" for name in sorted((source | about) - names)]
    faults += [f"wheel has {name}, which is not in src" for name in sorted(names - source - about)]
    faults += [f"wheel has {name}: what is it?" for name in sorted(source) if Path(name).suffix not in KINDS]
    wanted = ("License-Expression: Apache-2.0", "Requires-Python: >=3.10", "Classifier: Typing :: Typed")
    return faults + [f"metadata lacks {field!r}" for field in wanted if field not in metadata]


def faults_of_sdist(sdist: Path) -> list[str]:
    """What the sdist has too much, or lacks."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    strays = (name for name in names if re.search(r"__pycache__|\.pyc$|(^|/)\.(venv|git/|hypothesis)", name))
    return [f"sdist lacks {name}" for name in sorted(IN_SDIST - names)] + [
        f"sdist has {name}" for name in strays
    ]


def environment(folder: Path, *wanted: object) -> Path:
    """A fresh virtual environment with the distributions installed; its Python."""
    run(sys.executable, "-m", "venv", "--clear", folder)
    python = folder / "bin" / "python"
    # constraints.txt has no versions for the oldest Python.
    pins = ("--constraint", ROOT / "constraints.txt") if sys.version_info >= (3, 11) else ()
    run(python, *PIP, "install", "--quiet", *pins, *wanted)
    run(python, *PIP, "check")
    return python


def extras_of(wheel: Path) -> list[str]:
    """The extras that users install, as the wheel offers them."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        offered = re.findall(r"^Provides-Extra: (\S+)$", archive.read(name).decode(), re.MULTILINE)
    return [extra for extra in offered if extra not in DEVELOPMENT]


def fault_of_extra(wheel: Path, extra: str, folder: Path) -> str:
    """Install the wheel with an extra, and try every command; what went wrong, if anything."""
    began, (home, here) = time.monotonic(), (folder / "venv", folder / "work")
    here.mkdir()
    try:
        python = environment(home, f"{wheel}[{extra}]" if extra else wheel)
        run(python, ROOT / "tests" / "release_smoke.py", *filter(None, [extra]), cwd=here)
    except (subprocess.SubprocessError, OSError) as error:
        return f"with {extra or 'no extra'}: {error}"
    finally:
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(here)
        sys.stdout.write(f"{extra or 'no extra'}: {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    return ""


def fault_of_sdist_tests(sdist: Path, folder: Path) -> str:
    """Install the sdist, and run the tests that it carries with what was installed."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    # The tests shall find what was installed, not this.
    try:
        python = environment(folder / "venv", sdist, *RUNNER)
        shutil.rmtree(source / "src")
        run(python, "-m", "pytest", "--quiet", "--numprocesses=auto", "--dist=loadfile", "tests", cwd=source)
    except subprocess.SubprocessError as error:
        return f"sdist: {error}"
    return ""


def main() -> int:
    """Check all, or with ``--extra`` only those; the exit code is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--extra", action="append", help="only this one ('' for none), and no tests; repeatable"
    )
    chosen = parser.parse_args().extra
    with TemporaryDirectory(prefix="eci-release-") as name:
        folder = Path(name)
        (folder / "dist").mkdir()
        wheel, sdist = built(folder / "dist")
        faults = faults_of_wheel(wheel) + faults_of_sdist(sdist)
        offered = ["", *extras_of(wheel)]
        for extra in offered if chosen is None else chosen:
            if extra not in offered:
                parser.error(f"no extra {extra!r}; there are {', '.join(offered[1:])}")
            faults += [fault for fault in [fault_of_extra(wheel, extra, folder)] if fault]
        if chosen is None:
            faults += [fault for fault in [fault_of_sdist_tests(sdist, folder)] if fault]
    sys.stdout.write("".join(f"FAULT {fault}\n" for fault in faults))
    sys.stdout.write(f"{wheel.name}, {sdist.name}: {len(faults)} faults\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
