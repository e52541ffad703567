"""The latent spaces of a model: its z, or the output of one of its layers (StyleGAN's w is that of ``G.mapping``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.measure.counting import counted
from ganforge.model import CHUNK, Model

LARGEST = 2048
"""Numbers of a latent: matrices of this side are still quick to factor."""


def inputs_of(model: Model, n: int, seed: int, label: int | str | None) -> Batch:
    """``n`` latents with their conditions. InputError for a model without a latent z."""
    chunks = list(model.inputs(n, seed, label))
    if "z" not in chunks[0] or chunks[0]["z"].dim() != 2:
        raise InputError(f"{model.facts['recipe']} has no latent vector z to walk along")
    return {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}


def chunks_of(inputs: Batch) -> Iterator[Batch]:
    """The same inputs, ``CHUNK`` at a time."""
    for start in range(0, len(inputs["z"]), CHUNK):
        yield {key: value[start : start + CHUNK] for key, value in inputs.items()}


def mark_of(model: Model) -> str:
    """What tells a model from others, and from itself before more training: a hash of the weights that it saves."""
    content = hashlib.sha256()
    for name, value in model.game.state_dict().items():
        if name.partition(".")[0] not in model.game.used_by_model:
            continue  # a loaded model's discriminator is a fresh one
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:16]


class Found(Exception):
    """The layer that was asked for has been reached: the rest of the network need not run."""


@contextmanager
def hooked(modules: list[nn.Module], hook: Callable[[nn.Module, Any, Any], Any]) -> Iterator[None]:
    """Run ``hook`` after each pass through ``modules``."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Space:
    """Where a sample can be moved: ``layer`` None is z; else the module of that name, whose output is put in place, or
    another vector that sampling takes (InfoGAN's ``code``).

    Samples are then a function of that output and of whatever else the network takes beside it. InputError for a layer
    that is unknown, does not run exactly once, or whose output is no vector [n, size].
    """

    def __init__(self, model: Model, layer: str | None = None) -> None:
        self.model, self.layer, self.name = model, layer, layer or "z"
        taken = {} if layer is None else inputs_of(model, 1, 0, None)
        given = [key for key, value in taken.items() if value.dim() == 2 and value.is_floating_point() and key != "z"]
        self.key = "z" if layer is None else layer if layer in given else None
        if layer is None or self.key is not None:
            return
        vectors = [*vector_layers(model), *given]
        if layer not in vectors:
            raise InputError(f"no layer '{layer}' that gives a vector, once a sample: {nearest(layer, vectors)}")
        self.module = model.game.get_submodule(layer)

    @property
    def size(self) -> int:
        """How many numbers a point has."""
        return self.at(inputs_of(self.model, 2, 0, None)).shape[1]

    @torch.no_grad()
    def at(self, inputs: Batch) -> Tensor:
        """The points of ``inputs`` in this space: float32 [n, size]."""
        if self.key is not None:
            return inputs[self.key]
        return torch.cat([output_of(self.model, self.module, part) for part in chunks_of(inputs)]).float()

    def make(self, inputs: Batch, x: Tensor) -> Tensor:
        """Samples ``data`` [n, *shape] at the points ``x`` [n, size], differentiable in ``x``."""
        if self.key is not None:
            return self.model.game.sample({**inputs, self.key: x})["data"]
        with hooked([self.module], lambda module, given, output: x.to(output.dtype)):
            return self.model.game.sample(inputs)["data"]

    @torch.no_grad()
    def made(self, inputs: Batch, x: Tensor, doing: str = "") -> Tensor:
        """The same a chunk at a time, float32 on the CPU; within the limits of what a sample can show. Says how far it
        is, if it is told what it is ``doing``."""
        parts = zip(chunks_of(inputs), x.split(CHUNK), strict=True)
        if doing:
            parts = (part for part, _ in zip(parts, counted(-(-len(x) // CHUNK), doing), strict=True))
        whole = torch.cat([self.make(part, points).float().cpu() for part, points in parts])
        limits = self.model.domain.limits
        return whole if limits is None else whole.clamp(*limits)


def output_of(model: Model, module: nn.Module, inputs: Batch) -> Tensor:
    """What a layer gives for ``inputs``, the first time that it runs, without the rest of the network."""
    kept: list[Tensor] = []

    def hook(module: nn.Module, given: Any, output: Any) -> None:
        kept.append(output)
        raise Found

    with hooked([module], hook):
        try:
            model.game.sample(inputs)
        except Found:
            return kept[0].flatten(1)
    raise InputError(f"{model.facts['recipe']} never runs this layer")


@torch.no_grad()
def vector_layers(model: Model) -> list[str]:
    """The names of modules that run once a sample and give a vector [n, size], in the order in which they end."""
    names = {module: name for name, module in model.game.named_modules() if name}
    runs: dict[str, list[bool]] = {}

    def hook(module: nn.Module, given: Any, output: Any) -> None:
        runs.setdefault(names[module], []).append(isinstance(output, Tensor) and output.dim() == 2)

    with hooked(list(names), hook):
        model.game.sample(inputs_of(model, 2, 0, None))
    return [name for name, vectors in runs.items() if vectors == [True]]


def is_layer(module: nn.Module) -> bool:
    """Whether a module has weights and no parts, but for what computes its weights (spectral normalization)."""
    parts = {name for name, _ in module.named_children()}
    return parts <= {"parametrizations"} and next(module.parameters(), None) is not None


def first_layer(model: Model) -> tuple[str, nn.Module]:
    """The first layer with weights whose output depends on z, and its name. InputError where there is none."""
    names = {m: name for name, m in model.game.named_modules() if is_layer(m)}
    found: list[nn.Module] = []

    def hook(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:  # weights require none: it depends on z
            found.append(module)
            raise Found

    inputs = inputs_of(model, 2, 0, None)
    with hooked(list(names), hook), torch.enable_grad():
        try:
            model.game.sample({**inputs, "z": inputs["z"].clone().requires_grad_()})
        except Found:
            return names[found[0]], found[0]
    raise InputError(f"{model.facts['recipe']} has no layer that takes its latent")


def too_large(size: int) -> InputError:
    """For a latent of so many numbers."""
    return InputError(
        f"directions in closed form are for latents of up to {LARGEST:,} numbers, and this one has {size:,}: "
        "take those of kind principal"
    )


@torch.no_grad()
def first_linear_map(model: Model) -> Tensor:
    """A^T A of the first layer h = A z + b of a model: float64 [size, size].

    Differences along the axes of z are exact for a linear map, whatever its kind: a matrix, a convolution, one with
    labels beside z. InputError where the first layer is not linear in z (StyleGAN normalizes z first).
    """
    name, module = first_layer(model)
    inputs = inputs_of(model, 2, 0, None)
    size = inputs["z"].shape[1]
    if size > LARGEST:
        raise too_large(size)
    one = {key: value[:1] for key, value in inputs.items()}
    start = output_of(model, module, one).cpu().double()

    def moved(steps: Tensor) -> Tensor:
        rest = {key: value.expand(len(steps), *value.shape[1:]) for key, value in one.items()}
        return output_of(model, module, {**rest, "z": one["z"] + steps}).cpu().double() - start

    axes = torch.eye(size, device=one["z"].device, dtype=one["z"].dtype)
    columns = torch.cat([moved(part) for part in axes.split(CHUNK)])  # [size, outputs], A transposed
    way = (inputs["z"][1:] - one["z"]).cpu().double()
    gap = moved(way.to(one["z"])) - way @ columns
    if float(gap.norm()) > 1e-3 * float((way @ columns).norm()):
        raise InputError(
            f"the first layer ({name}) of {model.facts['recipe']} is not linear in z, so directions have no closed "
            "form: take those of kind principal or features; of StyleGAN, in closed form, those of --layer G.mapping"
        )
    return columns @ columns.T


@torch.no_grad()
def linear_maps_of(model: Model, layer: str) -> Tensor:
    """A^T A of all linear layers that take the output of ``layer``, one below the other: float64 [size, size].

    What SeFa does with StyleGAN, where A makes all styles of w. InputError where no linear layer takes it.
    """
    points = Space(model, layer).at(inputs := inputs_of(model, 2, 0, None))
    size, maps = points.shape[1], dict[nn.Module, None]()
    if size > LARGEST:
        raise too_large(size)

    def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if len(given) == 1 and isinstance(given[0], Tensor) and torch.equal(given[0].float(), points):
            maps[module] = None

    with hooked([module for module in model.game.modules() if is_layer(module)], hook):
        model.game.sample(inputs)
    axes, way = torch.eye(size, device=points.device), points[1:] - points[:1]
    total = torch.zeros(size, size, dtype=torch.float64)
    for module in maps:
        start = module(points[:1])
        columns = torch.cat([module(points[:1] + part) - start for part in axes.split(CHUNK)]).flatten(1).double().cpu()
        wanted = (module(points[1:]) - start).flatten(1).double().cpu()
        if float((way.double().cpu() @ columns - wanted).norm()) <= 1e-3 * float(wanted.norm()):
            total += columns @ columns.T
    if not float(total.trace()) > 0:
        raise InputError(f"no linear layer of {model.facts['recipe']} takes the output of {layer}: take another kind")
    return total
