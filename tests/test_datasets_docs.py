"""The session and the Python of docs/data.md do what they show."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from eci.datasets import LAYOUT_NAMES

PAGE = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
SHELL = f"""eci() {{ {shlex.quote(sys.executable)} -c 'from eci.cli import run; run()' "$@"; }}\n"""


def test_session_and_python(tmp_path):
    session = re.search(r"## A session\n\n```console\n(.*?)```", PAGE, re.DOTALL).group(1)
    parts = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    assert len(parts) > 5
    for part in parts:
        command, _, expected = part.partition("\n")
        shell = ["bash", "-c", SHELL + command]
        done = subprocess.run(
            shell, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.stdout == expected, command
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "flagembedding 1\nflagembedding 1\n[]\n{}\n"


def test_table_lists_every_layout():
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE) == list(LAYOUT_NAMES)
