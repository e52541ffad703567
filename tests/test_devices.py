"""GPUs, where there is none: what is asked of CUDA, and that moves neither leave their device nor wait for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import play
from ganforge import plan
from ganforge.config import Settings
from ganforge.core.device import deterministic, fast_bf16, pick_device
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.engine import trainer
from ganforge.engine.rng import reseed
from ganforge.engine.update import Updates
from ganforge.engine.world import World, join_world
from ganforge.nn.flow import Mix
from ganforge.ops import ada

FAKE = "meta"
"""A device on which a fake tensor has a shape and a place, and no numbers: to ask for them is an error."""


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As if there were two GPUs; gives what is asked of them."""
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: asked.append("all"))
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: asked.append("current"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: asked.append(("wait", str(device))))
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: asked.extend([backend, timeout]))
    return asked


def test_a_seed_reaches_every_gpu(two_gpus: list[Any]) -> None:
    """On cuda:1, which need not be the current GPU, noise would otherwise be another each time."""
    reseed(0, "anything")
    assert two_gpus == ["all"]


def course() -> tuple[bool, ...]:
    """What PyTorch is set to do on CUDA."""
    return (
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def test_cuda_is_asked_for_the_same_numbers_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = course()
    for device, wanted in ((torch.device("cpu"), True), (torch.device("cuda:1"), False)):
        with deterministic(device, wanted):
            assert course() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with contextlib.suppress(ZeroDivisionError), deterministic(torch.device("cuda:1")):
        assert course() == (True, False, True, True) and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        raise ZeroDivisionError
    assert course() == before
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic(torch.device("cuda")):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8", "who chose one keeps it"


def test_a_trainer_trains_so_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        trainer, "deterministic", lambda device, wanted: seen.append((device.type, wanted)) or contextlib.nullcontext()
    )
    for wanted in (True, False):
        settings = Settings("gan", "ring", {"size": 8}, {}, {"rounds": 1, "device": "cpu", "deterministic": wanted})
        made = plan.make_plan(settings, lambda line: None)
        made.trainer(made.build(), None).train()
    assert seen == [("cpu", True), ("cpu", False)]


def test_each_process_takes_its_gpu_before_it_joins(two_gpus: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert join_world("cuda", None) == World(rank=1, size=2, shards=2)
    assert two_gpus == [torch.device("cuda:1"), "nccl", timedelta(hours=2)]
    two_gpus.clear()
    join_world("cpu", None, 0.5)
    assert two_gpus == ["gloo", timedelta(seconds=30)]


def test_a_gpu_that_is_not_there(two_gpus: list[Any]) -> None:
    assert [str(pick_device("cuda", rank)) for rank in (0, 1, 2)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="cuda:2 was asked for, but PyTorch sees only 2 GPUs"):
        pick_device("cuda:2")


def test_emulated_bf16_is_not_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not fast_bf16(torch.device("cuda:0"))


def test_rounds_are_timed_to_their_end(two_gpus: list[Any]) -> None:
    trainer = SimpleNamespace(round=lambda: two_gpus.append("round"), device=torch.device("cuda:1"))
    plan.play(trainer)  # type: ignore[arg-type]
    assert two_gpus == ["round", ("wait", "cuda:1")]


def test_a_gpus_memory_is_not_that_of_the_machine(two_gpus: list[Any]) -> None:
    settings = Settings("gan", "ring", {"size": 8}, {}, {"device": "cpu", "rounds": 4})
    its = plan.make_plan(settings, lambda text: None)
    huge = plan.Estimate(4, 1.0, 100.0, 2**50, {})
    assert any("memory" in text for text in plan.cautions(its, huge))
    its.options = plan.replace(its.options, device="cuda")
    assert not any("memory" in text for text in plan.cautions(its, huge))


class Looks(Game):
    """Notes in which precision it is played."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.players = {"P": Player([self.net])}
        self.played: list[bool] = []

    def play(self, batch: Batch) -> Terms:
        self.played.append(torch.is_autocast_enabled("cpu"))
        return {"loss": self.net(batch["data"]).square().mean()}


@pytest.mark.parametrize("order", [1, 2])
def test_batches_are_encoded_in_full_precision(order: int) -> None:
    """Data that are made by convolutions (edges, blur) must be the same in training and in use."""
    game, encoded = Looks(), []

    def batches(shard: int) -> Batch:
        encoded.append(torch.is_autocast_enabled("cpu"))
        return {"data": torch.ones(4, 2)}

    Updates(game, World(), 0, ("cpu", torch.bfloat16)).update(Move("P", game.play, order=order), batches, (0, 0, 0))
    assert encoded == [False] and game.played == [order == 1]


def test_constants_of_ada_are_copied_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from the host makes it wait for the GPU, and would do so at each look of D."""
    x, p = torch.rand(3, 3, 8, 8), torch.tensor(0.8)
    ada.augment(x, p, ada.CATEGORIES)
    monkeypatch.setattr(ada.torch, "tensor", lambda *args, **how: pytest.fail("made again"))
    assert ada.augment(x, p, ada.CATEGORIES).shape == x.shape


def test_a_flow_does_not_wait_for_its_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.linalg.inv asks the GPU whether the matrix was singular, in each layer of each pass."""
    monkeypatch.setattr(torch.linalg, "inv", lambda *given: pytest.fail("the host waits"))
    mix, x = Mix(5), torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(mix(mix.inverse(x)[0]), x, atol=1e-5, rtol=1e-4)


# ---- moves on a fake device

PRIVATE: dict[str, Any] = {
    "given": "one", "loss": "wasserstein", "r1": 0, "r2": 0, "pack": 1, "privacy_noise": 1.0, "balance": "natural",
    "gp": 10.0,
}  # fmt: skip
PLAYED: dict[str, tuple[str, dict[str, Any]]] = {
    "age": ("age", {}),
    "ctgan": ("ctgan", {"given": "any"}),
    "private": ("ctgan", PRIVATE),
    "cyclegan": ("cyclegan", {"loss": "non-saturating", "r1": 1.0, "augment": "color,translation,cutout"}),
    "biggan": ("biggan", {}),
    "ddpm": ("ddpm", {}),
    "flowgan": ("flowgan", {}),
    "gsgan": ("gsgan", {}),
    "infogan": ("infogan", {}),
    "lapgan": ("lapgan", {}),
    "molgan": ("molgan", {}),
    "pix2pix": ("pix2pix", {}),
    "pixelcnn": ("pixelcnn", {}),
    "progan": ("progan", {}),
    "realnvp-conv": play.variants()["realnvp-conv"],
    "r3gan": ("r3gan", {"augment": "ada:blit,geometric,color,filter,corrupt"}),
    "seqgan": ("seqgan", {}),
    "stylegan2": ("stylegan2", {}),
    "stylegan3": ("stylegan3", {}),
    "text2image": ("text2image", {"noise": 0.3}),
    "tricks": play.variants()["tricks"],
    "vae": ("vae", {}),
    "videogan": ("videogan", {}),
}
READS_BACK = {("molgan", "R")}
"""RDKit scores molecules on the CPU, every ``reward_every`` rounds."""


def moved(value: Tensor) -> Tensor:
    """A tensor as it would be on the fake device (within a FakeTensorMode)."""
    return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=FAKE)


def move(game: Game) -> None:
    """All parameters and buffers to the fake device; those of one tensor stay one."""
    known: dict[int, Any] = {}
    for module in game.modules():
        for name, value in [*module._parameters.items(), *module._buffers.items()]:
            if value is None:
                continue
            if id(value) not in known:
                known[id(value)] = nn.Parameter(moved(value)) if isinstance(value, nn.Parameter) else moved(value)
            (module._parameters if name in module._parameters else module._buffers)[name] = known[id(value)]
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


@contextlib.contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors are fakes; there is no mixed precision on their device."""
    real = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda kind, *a, **k: real("cpu" if kind == FAKE else kind, *a, **k))
    try:
        with FakeTensorMode():
            yield
    finally:
        for each in (ada.constant, ada._doubling, ada._halving, ada._bands):
            each.cache_clear()  # of fakes


@pytest.mark.parametrize("name", sorted(PLAYED))
def test_moves_stay_on_their_device_and_do_not_wait(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "private":
        pytest.importorskip("opacus")
    monkeypatch.setattr(play, "variants", lambda: PLAYED)
    trainer = play.trainer_for(name, shards=1)
    game, batch = trainer.game, trainer.stream.take(0)
    with elsewhere(monkeypatch):
        move(game)
        batch = {key: moved(value) for key, value in batch.items()}
        begins = [Clock()] if name == "seqgan" else []  # by other moves than it goes on with
        for clock in [*begins, Clock(400, 400)]:
            for each in game.moves(clock):
                if (name, each.player) in READS_BACK:
                    continue
                for player, its in game.players.items():
                    for parameter in its.parameters():
                        parameter.requires_grad_(player == each.player)
                terms = each.play(batch)
                assert {term.device.type for term in terms.values()} == {FAKE}, each
    noted: dict[str, list[Tensor]] = game.__dict__.pop("noted", {})
    assert {key for key, values in noted.items() for v in values if v.device.type != FAKE} == set()
