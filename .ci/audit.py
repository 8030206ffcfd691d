"""A bill of materials of the installed packages, and what is known of holes in them.

    python .ci/audit.py --of .venv/bin/python --sbom sbom.json [--advisories]

The bill is CycloneDX JSON and needs no network. Advisories are asked for with pip-audit. A package that it
could not ask about is not one without holes: exit code 0 says that all were asked about and none has a known
one, 1 that some have, 3 that some or all were not asked about.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

UNASKED = 3


def bill(python: str, out: Path) -> int:
    """Write the bill of materials of an environment; gives the number of its packages."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", python, "--of", "JSON", "-o", str(out)]
    subprocess.run(command, check=True)
    found = json.loads(out.read_bytes())
    names = {component["name"] for component in found["components"]}
    if found["bomFormat"] != "CycloneDX" or not {"numpy", "click", "pyarrow", "orjson"} <= names:
        raise SystemExit(
            f"{out}: is no bill of materials of eci: it lacks packages that eci cannot do without."
        )
    return len(names)


def judged(report: dict[str, Any] | None) -> tuple[int, str]:
    """Exit code and words for what pip-audit reported, or None where it reported nothing."""
    found = (report or {}).get("dependencies", [])
    asked = [entry for entry in found if "skip_reason" not in entry]
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    holes = [
        f"{entry['name']} {entry['version']}: {hole['id']}" for entry in asked for hole in entry["vulns"]
    ]
    if holes:
        return 1, "\n".join([f"Known holes: {len(holes)}.", *holes])
    if not asked:
        return (
            UNASKED,
            "NOT ASKED: the advisory service answered for no package. This says nothing about holes.",
        )
    if others := [name for name in skipped if name != "eci"]:
        told = f"NOT ASKED about {len(others)} of {len(found)} packages: {', '.join(sorted(others)[:20])}."
        return UNASKED, f"{told} The other {len(asked)} have no known holes."
    return 0, f"No known holes in {len(asked)} packages."


def advisories(python: str) -> dict[str, Any] | None:
    """What pip-audit tells of the packages of an environment; None if it tells nothing."""
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    place = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, "-m", "pip_audit", "--path", place, "--format", "json", "--timeout", "10"]
    done = subprocess.run(
        [*command, "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        sys.stderr.write(done.stderr[-1000:])
        return None
    return found


def main() -> int:
    """Do what the arguments say; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--of", required=True, metavar="PYTHON", help="of the environment")
    parser.add_argument("--sbom", type=Path, required=True, metavar="FILE")
    parser.add_argument("--advisories", action="store_true", help="ask for what is known of holes")
    given = parser.parse_args()
    sys.stdout.write(f"{given.sbom}: {bill(given.of, given.sbom)} packages\n")
    if not given.advisories:
        return 0
    code, told = judged(advisories(given.of))
    sys.stdout.write(f"{told}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
