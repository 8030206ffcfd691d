from __future__ import annotations

import subprocess
import sys

HEAVY = "ray torch transformers sentence_transformers datasets pyarrow numpy pandas polars bm25s lmdb".split()


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_eci_loads_nothing_heavy():
    assert not loaded_by("import eci").intersection(HEAVY)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom eci import cli\n"
        "for arguments in (['--help'], ['score', '--help'], ['ablate', '--help'], ['convert', '--help'], ['demo', '--help'], ['cache', '--help'],"
        " ['mine', '--help'], ['mine', 'bm25', '--help'], ['filter', '--help'], ['audit', '--help'], ['mix', '--help'], ['select', '--help'],"
        " ['probe', '--help'], ['train', '--help'], ['evaluate', '--help'], ['validate', '--help'], ['report', '--help'], ['generate', '--help'],"
        " ['generate', 'causal', '--help']):\n"
        "    cli.main.main(arguments, standalone_mode=False)\n"
    )
    assert not loaded_by(code).intersection(HEAVY)


def test_public_names_all_load_and_nothing_else_is_promised():
    import eci

    assert all(getattr(eci, name) is not None for name in eci.__all__)
    assert set(eci.__all__) == set(eci._WHERE)
    assert eci.__all__ == [
        "Ablation",
        "AblationSettings",
        "AuditResult",
        "AuditSettings",
        "CacheError",
        "ChatError",
        "ChatSettings",
        "Comparison",
        "DataError",
        "EciError",
        "Encoder",
        "EncoderError",
        "EngineError",
        "Estimate",
        "Evaluation",
        "Experiment",
        "Judge",
        "JudgedCollection",
        "Judgements",
        "LayoutError",
        "Measures",
        "MissingDependency",
        "ModelOptions",
        "Outcome",
        "OutputError",
        "ProbeResult",
        "ProbeSettings",
        "RaySettings",
        "ReadOptions",
        "ScoreResult",
        "SelectSettings",
        "Settings",
        "SourceResult",
        "TrainSettings",
        "ablate",
        "audit_rows",
        "compare",
        "eci_score",
        "evaluate",
        "evaluate_retrieval",
        "probe",
        "score",
        "select",
        "train",
        "validate",
    ]
