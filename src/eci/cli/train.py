"""``eci train``: a model fine-tuned on the negatives of a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from eci.cli.command import command_line
from eci.cli.options import SEED, Count

if TYPE_CHECKING:
    from eci.datasets import ReadOptions
    from eci.models.sentence_transformer import ModelOptions
    from eci.training.settings import TrainSettings

_PATH = click.Path(path_type=Path)
# Where the published recipes agree; what they do not tell is as without a preset.
_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"batch_size": 16, "epochs": 1.0, "hard_negatives": 1, "rows": 0, "dev": 0.1, "patience": 3}
}
_TRAINING = (
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup",
    "temperature",
    "max_seq_length",
    "precision",
    "seed",
    "loss",
    "mini_batch_size",
    "guide",
    "generated",
    "entropy",
)
# Options that say something only beside another one.
_BELONGS = {"mini_batch_size": ("loss", "cached-mnrl"), "guide": ("loss", "gist")}


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="ROWS...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=_PATH,
    metavar="FOLDER",
    help="Folder of the model; made at the end.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="LABEL",
    help="Whose negatives; several: side by side in a row. 'none': in-batch negatives alone. Needed where "
    "ROWS have several.",
)
@click.option(
    "--model",
    default="all-MiniLM-L6-v2",
    show_default=True,
    help="Model to start from: a folder or a hub name.",
)
@click.option(
    "--preset",
    type=click.Choice(list(_PRESETS)),
    help="paper: batches of 16, 1 epoch, a triplet for every negative, --dev 0.1 --patience 3. Options given "
    "beside it count.",
)
@click.option(
    "--hard-negatives", type=Count(1), default=1, show_default=True, help="Of each source in a row."
)
@click.option(
    "--rows",
    type=Count(0),
    default=1,
    show_default=True,
    help="Rows of each query, with other negatives in each. 0: as many as use every negative once.",
)
@click.option("--positives", type=Count(0), default=1, show_default=True, help="Of each query. 0: all.")
@click.option("--epochs", type=float, default=1.0, show_default=True)
@click.option(
    "--batch-size",
    type=Count(1),
    default=16,
    show_default=True,
    help="Rows; no two of a batch share a text.",
)
@click.option("--learning-rate", type=float, default=2e-5, show_default=True, help="Its peak.")
@click.option("--warmup", type=float, default=0.1, show_default=True, help="Share of the steps, 0…1.")
@click.option(
    "--loss",
    type=click.Choice(["mnrl", "cached-mnrl", "gist"]),
    default="mnrl",
    show_default=True,
    help="Multiple negatives ranking; the same in little memory; GISTEmbed, which a guide tells what is no "
    "negative.",
)
@click.option("--temperature", type=float, default=0.05, show_default=True, help="τ of the loss.")
@click.option("--mini-batch-size", type=Count(1), default=32, show_default=True, help="Of cached-mnrl.")
@click.option("--guide", metavar="MODEL", help="Of gist.")
@click.option(
    "--generated",
    multiple=True,
    metavar="LABEL",
    help="Sources that are generated: adds CausalNeg's entropy term where a row has others too.",
)
@click.option("--entropy", type=float, default=0.05, show_default=True, help="Weight of that term.")
@click.option(
    "--dev",
    type=float,
    metavar="SHARE",
    help="Hold out this share of the queries, evaluate on them by nDCG@10 on the way, and keep the best "
    "checkpoint. 0.1 if only --patience is given.",
)
@click.option(
    "--patience",
    type=Count(1),
    help="End after so many evaluations in a row without a better one.  [default: 3]",
)
@click.option("--evaluate-every", type=Count(1), metavar="STEPS", help="Default: a tenth of the run.")
@click.option(
    "--checkpoint-every",
    type=Count(1),
    metavar="STEPS",
    help="Steps that a killed run loses at most. Default: a tenth of the run. Where queries are held out, "
    "--evaluate-every says it instead.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of the computation; weights stay float32. auto is bfloat16 where the machine computes in it.",
)
@click.option(
    "--max-seq-length",
    type=Count(1),
    help="Tokens read of each text, by the model that is made too.",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="ROLE=TEXT",
    help='Text put before queries or documents: --prompt "query=query: " --prompt "document=passage: ".',
)
@click.option("--device", help="Where the model is trained: cpu, cuda, mps …")
@click.option("--revision", help="Revision of a model on the hub.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python that comes with the model.")
@click.option("--layout", metavar="LAYOUT", help="Layout of ROWS; detected if not given.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="Source of negatives that carry none: once for all files or once per file. Default: file name.",
)
@click.option("--corpus", type=_PATH, help="Documents by id; looked for beside ROWS.")
@click.option("--queries", type=_PATH, help="Queries by id; looked for beside ROWS.")
@click.option("--split", metavar="NAME", help="Qrels of a BEIR folder, or split of a saved DatasetDict.")
@click.option(
    "--score",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="RESULT",
    help="Result of eci score -o for ROWS; its table goes into the model card.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def train(
    context: click.Context,
    /,
    *,
    files: tuple[str, ...],
    output: Path,
    model: str,
    score: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a model on the negatives of a source in ROWS.

    With sentence-transformers' own trainer and losses. FOLDER holds the model, its card, and eci.json with
    everything that is needed to obtain it again; the same seed gives the same weights on the same machine. A
    killed run goes on from its last checkpoint when the command is given again.

    \b
    Examples:
      eci train bm25.parquet -o model
      eci train bm25.parquet dense.parquet --source dense --hard-negatives 7 --dev 0.1 -o model
      eci train mined.jsonl llm.jsonl --source mined --source llm --generated llm --hard-negatives 3 -o model
      eci train bm25.parquet --source none -o baseline
    """  # noqa: D301
    settings, loading, reading = _settings(context, options), _loading(options), _reading(options)
    from eci.cli.progress import StderrProgress
    from eci.datasets import read
    from eci.datasets.card import read_result
    from eci.training.card import ModelCard
    from eci.training.train import train as run

    command = command_line()
    card = ModelCard(read_result(score) if score else None, command)
    with StderrProgress() as progress:
        found = run(
            read(files, reading),
            output,
            model=model,
            settings=settings,
            loading=loading,
            card=card,
            progress=progress,
        )
    click.echo(found.to_json() if as_json else found.table())


def _settings(context: click.Context, options: dict[str, Any]) -> TrainSettings:
    from eci.training.finetune import Stopping, Training
    from eci.training.rows import Drawing
    from eci.training.settings import TrainSettings

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is not ParameterSource.DEFAULT

    preset = _PRESETS.get(options["preset"], {})
    options |= {name: value for name, value in preset.items() if not given(name)}
    for name, (other, value) in _BELONGS.items():
        if given(name) and options[other] != value:
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to --{other} {value}.")
    if given("entropy") and not options["generated"]:
        raise click.UsageError("--entropy weighs the term that --generated LABEL adds: give that too.")
    stopping = None
    dev, patience, every = (options[name] for name in ("dev", "patience", "evaluate_every"))
    if dev is not None or patience is not None:
        stopping = Stopping(0.1 if dev is None else dev, patience or 3, every)
        if options["checkpoint_every"]:
            asked = next((f"--{name}" for name in ("dev", "patience") if given(name)), "")
            raise click.UsageError(
                f"{asked or '--preset ' + options['preset']} holds out queries, and every evaluation on them "
                "is a checkpoint: give --evaluate-every instead of --checkpoint-every."
            )
    elif every is not None:
        raise click.UsageError("--evaluate-every belongs to --dev SHARE, the queries to evaluate on.")
    return TrainSettings(
        options["sources"],
        options["hard_negatives"],
        Training(**{name: options[name] for name in _TRAINING}),
        Drawing(options["rows"], options["positives"], options["seed"]),
        stopping,
        options["checkpoint_every"],
    )


def _loading(options: dict[str, Any]) -> ModelOptions:
    from eci.models.sentence_transformer import ModelOptions

    found = {}
    for entry in options["prompts"]:
        role, equals, text = entry.partition("=")
        if not equals or role not in ("query", "document"):
            raise click.UsageError(f"--prompt takes query=TEXT or document=TEXT, got {entry!r}.")
        found[role] = text
    return ModelOptions(
        device=options["device"],
        revision=options["revision"],
        trust_remote_code=options["trust_remote_code"],
        prompts=found or None,
    )


def _reading(options: dict[str, Any]) -> ReadOptions:
    from eci.datasets import ReadOptions

    return ReadOptions(
        options["layout"], options["labels"], options["corpus"], options["queries"], options["split"]
    )
