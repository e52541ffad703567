"""What every game must do. ``test_recipes`` runs these on every recipe; a recipe of your own may too."""

from __future__ import annotations

import json

import torch

from ganforge.domains import domain_from_dict
from ganforge.engine.trainer import Trainer


def snapshot(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All weights, by name."""
    return {name: p.detach().clone() for name, p in trainer.game.named_parameters()}


def check_moves_touch_only_their_player(trainer: Trainer) -> None:
    """After each move, no parameter of another player has changed."""
    for index, move in enumerate(trainer.game.moves(trainer.clock)):
        before, own = snapshot(trainer), set(trainer.updates.learners[move.player].parameter_names)
        trainer.updates.update(move, trainer.stream.take, (0, index, 0))
        changed = {n for n, p in trainer.game.named_parameters() if not torch.equal(p, before[n])}
        assert changed <= own, f"{move.player}'s move changed {sorted(changed - own)}"


def check_every_player_learns(trainer: Trainer, rounds: int = 3) -> None:
    """After a few rounds every player has changed, and all numbers are finite."""
    before = snapshot(trainer)
    for _ in range(rounds):
        trainer.round()
    after = snapshot(trainer)
    for name, learner in trainer.updates.learners.items():
        assert any(not torch.equal(before[n], after[n]) for n in learner.parameter_names), f"{name} did not learn"
        assert float(learner.skipped) == 0, f"{name} skipped a step"
    assert all(bool(p.isfinite().all()) for p in after.values())
    for name, values in trainer.notes.items():
        assert all(bool(v.isfinite().all()) for v in values), f"{name} is not finite"


def check_sampling_disturbs_nothing(trainer: Trainer) -> None:
    """Sampling with the averaged weights leaves all state as it was."""
    before = {k: v.clone() for k, v in trainer.game.state_dict().items()}
    with trainer.sampling():
        trainer.game.sample(trainer.draw(4, "check"))
    after = trainer.game.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert trainer.game.training


def check_state_suits_any_device(trainer: Trainer) -> None:
    """No weight and no buffer is of a type that some devices lack: Apple's GPUs have no float64."""
    state = {**dict(trainer.game.named_parameters()), **dict(trainer.game.named_buffers())}
    assert [name for name, value in state.items() if value.dtype == torch.float64] == []


def check_samples_fit_the_domain(trainer: Trainer) -> None:
    """Samples are finite, have the domain's shape, are a function of their inputs, and survive a round trip."""
    game, domain = trainer.game, trainer.domain
    with trainer.sampling():
        inputs = trainer.draw(6, "check")
        samples, again = game.sample(inputs)["data"], game.sample(inputs)["data"]
    assert torch.equal(samples, again)
    assert samples.shape == (6, *domain.shape) and bool(samples.isfinite().all())
    domain.decode({"data": samples})
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain
