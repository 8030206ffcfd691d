"""``eci cache``: what the embedding cache holds, and how to empty it."""

from __future__ import annotations

import json

import click


@click.group()
def cache() -> None:
    """Look at or empty the embedding cache.

    It lies in $ECI_CACHE, or in the user's cache folder.
    """


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(as_json: bool) -> None:
    """Folder, size, and the vectors of each encoder."""
    from eci.models.cache import EmbeddingCache

    opened = EmbeddingCache()
    try:
        found = opened.info()
    finally:
        opened.close()
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    click.echo(f"{found['folder']}: {found['vectors']:,} vectors, {found['bytes'] / 1e6:,.1f} MB")
    for encoder in found["encoders"]:
        # An encoder of somebody's own tells of itself what it likes.
        told = [str(encoder.get(name, f"unknown {name}")) for name in ("name", "precision")]
        if "dimension" in encoder:
            told.append(f"{encoder['dimension']} dimensions")
        if "weights_blake2b" in encoder:
            told.append(f"weights {str(encoder['weights_blake2b'])[:8]}")
        click.echo(f"  {encoder['vectors']:>10,}  {', '.join(told)}")


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes: bool) -> None:
    """Delete all cached vectors; works on a damaged cache too."""
    from eci.models.cache import clear as clear_cache
    from eci.models.cache import default_folder

    if not yes:
        click.confirm(f"Delete all cached vectors in {default_folder()}?", abort=True, err=True)
    click.echo(f"Freed {clear_cache() / 1e6:,.1f} MB in {default_folder()}.")
