"""Style mixing: the coarse styles of one sample, the fine ones of another (Karras et al. 2019, section 3.1)."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from ganforge.core.errors import InputError
from ganforge.latent.spaces import chunks_of, inputs_of
from ganforge.model import Model

LAYERS = {"coarse": (0, 1), "middle": (1, 2), "fine": (2, 3)}
"""Thirds of the layers."""


def layers_of(model: Model, named: str) -> tuple[int, int]:
    """The first layer and the one after the last: of ``coarse``, ``middle``, ``fine`` or ``FIRST-LAST`` (from 0).

    InputError for a model without styles, and for layers that it does not have.
    """
    if not hasattr(model.game, "mixed"):
        raise InputError(f"{model.facts['recipe']} has no styles to mix: train stylegan2 or stylegan3")
    game: Any = model.game
    count = int(game.G.layers)
    if named in LAYERS:
        first, last = LAYERS[named]
        return round(first * count / 3), round(last * count / 3)
    first, _, last = named.partition("-")
    if not first.isdigit() or not (last or first).isdigit() or not int(first) <= int(last or first) < count:
        raise InputError(
            f"--layers {named}: give coarse, middle or fine, or some of this model's layers, such as 0-{count - 1}"
        )
    return int(first), int(last or first) + 1


@torch.no_grad()
def mix(
    model: Model, rows: int = 4, columns: int = 6, layers: str = "coarse", seed: int = 0, label: int | str | None = None
) -> Any:
    """Samples as the domain shows them, (rows + 1) (columns + 1) of them: the first row holds what styles are taken
    from, the first column what they are given to, the corner is empty. ``layers``: which styles the columns give.
    """
    first, last = layers_of(model, layers)
    if rows < 1 or columns < 1:
        raise InputError(f"mixing needs at least 1 row and 1 column, not {rows} and {columns}")
    inputs, game = inputs_of(model, rows + columns, seed, label), cast(Any, model.game)
    givers, takers = torch.arange(columns), columns + torch.arange(rows)
    at, of = takers.repeat_interleave(columns), givers.repeat(rows)
    pairs = {key: value[at] for key, value in inputs.items()} | {"row": of}
    mixed = []
    for part in chunks_of(pairs):
        other = {key: value[part["row"]] for key, value in inputs.items()}
        mixed.append(game.mixed(part, other, first, last)["data"])
    alone = model.domain.decode({"data": torch.cat([model.game.sample(p)["data"] for p in chunks_of(inputs)])})
    made = model.domain.decode({"data": torch.cat(mixed)})
    made = made.reshape(rows, columns, *made.shape[1:])
    corner = np.full_like(alone[:1], np.iinfo(alone.dtype).max)
    top = np.concatenate([corner, alone[:columns]])[None]
    below = np.concatenate([alone[columns:, None], made], 1)
    return np.concatenate([top, below]).reshape(-1, *alone.shape[1:])
