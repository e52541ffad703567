"""A player at work: its optimizer, the average of its weights, and what of them a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganforge.core import foreach
from ganforge.core.game import Game, Player
from ganforge.core.schedule import value_at
from ganforge.engine.run import Tensors


class Learner:
    """A player at work: its optimizer, the moving average of its weights, and its counters on the device."""

    def __init__(self, name: str, player: Player, game: Game) -> None:
        self.name, self.player = name, player
        self.parameters = player.parameters()
        names = {id(p): n for n, p in game.named_parameters()}
        self.parameter_names = [names[id(p)] for p in self.parameters]
        betas = (value_at(player.betas[0], 0), value_at(player.betas[1], 0))
        self.optimizer: torch.optim.Optimizer
        if player.optimizer == "adam":
            fused = self.parameters[0].device.type in ("cpu", "cuda")
            self.optimizer = torch.optim.Adam(
                self.parameters, lr=value_at(player.lr, 0), betas=betas, eps=player.eps, fused=fused
            )
            self.skips_on_device = fused
        else:
            self.optimizer = torch.optim.RMSprop(self.parameters, lr=value_at(player.lr, 0), alpha=0.99, eps=player.eps)
            self.skips_on_device = False
        self.average = [p.detach().clone() for p in self.parameters] if player.ema_samples is not None else None
        self.skipped = torch.zeros((), device=self.parameters[0].device)

    def set_rates(self, samples: float, lr_factor: float, share: float) -> None:
        """Set lr and betas for now. ``share`` is the lazy correction: main steps / all steps of a round."""
        for group in self.optimizer.param_groups:
            group["lr"] = value_at(self.player.lr, samples) * lr_factor * share
            if "betas" in group:
                group["betas"] = tuple(value_at(beta, samples) ** share for beta in self.player.betas)

    def step(self, loss: Tensor) -> tuple[Tensor, Tensor] | None:
        """One optimizer step, left out when the loss or a gradient is not finite.

        Returns the gradient norm and whether the step was good (None: nothing to learn from).

        Fused Adam reads the flag on the device, so that no step waits for the host.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not gradients:
            return None
        norm = foreach.norm(gradients)
        good = norm.isfinite() & loss.isfinite()
        bad = (~good).to(torch.float32)
        self.skipped += bad
        if self.skips_on_device:
            self.optimizer.found_inf = bad  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not bad.item():
            self.optimizer.step()
        return norm, good

    @property
    def weights(self) -> list[Tensor]:
        """The parameters, as plain tensors."""
        return [p.detach() for p in self.parameters]

    def moved(self, before: list[Tensor]) -> Tensor:
        """The size of the last step, relative to that of the weights ``before`` it (healthy: about 1e-4 to 1e-2)."""
        change = foreach.differences(self.weights, before)
        return foreach.norm(change) / foreach.norm(before).clamp_min(1e-12)

    @torch.no_grad()
    def follow(self, samples: int, batch: int) -> None:
        """Move the average towards the weights: its half-life is counted in samples."""
        if self.average is None or self.player.ema_samples is None:
            return
        half_life = value_at(self.player.ema_samples, samples)
        if self.player.ema_rampup is not None:
            half_life = min(half_life, max(samples, batch) * self.player.ema_rampup)
        keep = 0.5 ** (batch / max(half_life, 1e-8))
        foreach.move_towards(self.average, [p.detach() for p in self.parameters], 1.0 - keep)

    def state(self) -> tuple[Tensors, Tensors]:
        """What a bit-exact resume needs: the average by its parameters' names, the optimizer's by ``name/key``."""
        average = {} if self.average is None else dict(zip(self.parameter_names, self.average, strict=True))
        optimizer = {
            f"{name}/{key}": value
            for name, parameter in zip(self.parameter_names, self.parameters, strict=True)
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }
        return average, optimizer

    @torch.no_grad()
    def restore(self, averages: Mapping[str, Tensor], optimizers: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take up what ``state`` gave, all players' together: ``optimizers`` by parameter, then by key."""
        if self.average is not None:
            for name, average in zip(self.parameter_names, self.average, strict=True):
                average.copy_(averages[name])
        self.optimizer.state.clear()
        for name, parameter in zip(self.parameter_names, self.parameters, strict=True):
            for key, value in optimizers.get(name, {}).items():
                like = torch.empty_like(parameter if value.shape == parameter.shape else value)
                on_host = key == "step" and parameter.device.type != "cuda"  # where Adam counts on the CPU
                self.optimizer.state[parameter][key] = like.to("cpu" if on_host else parameter.device).copy_(value)
