"""The command ``ganforge mix``: the styles of some samples, given to others."""

from __future__ import annotations

from typing import Annotated

import typer

from ganforge.app.arguments import Allow, Device, Label, Out, RunPath, Seed, open_run, say, tag, telling
from ganforge.app.written import Overwrite, refuse_others, remember

MIX_EXAMPLES = (
    "Examples: ganforge mix runs/stylegan2-faces-01 | ganforge mix RUN --layers fine --rows 3 --columns 8 | "
    "ganforge mix RUN --layers 2-5"
)


def mix(
    run: RunPath,
    rows: Annotated[int, typer.Option(min=1, help="Samples that take the styles.")] = 4,
    columns: Annotated[int, typer.Option(min=1, help="Samples that give the styles.")] = 6,
    layers: Annotated[str, typer.Option(help="Which styles: coarse, middle, fine, or layers such as 2-5.")] = "coarse",
    seed: Seed = 0,
    label: Label = None,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    allow: Allow = None,
) -> None:
    """Mix styles: each sample in the first column takes styles from each sample in the first row."""
    from ganforge import latent

    refuse_others([out] if out else [], overwrite)
    model = open_run(run, device, allow)
    with telling(doing="making samples"):
        samples = latent.mix(model, rows, columns, layers, seed, label)
    target = out or run / "generated" / f"mix-{layers}-seed{seed}{tag(label)}.png"
    model.domain.animate(samples, target, columns + 1)
    remember([target])
    say(f"{rows} samples with the {layers} styles of {columns} others: {target}")
