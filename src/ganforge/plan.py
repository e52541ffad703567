"""What a run is made from, and what it will take: settings resolved against the data, and an estimate."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import psutil
import torch

from ganforge import __version__
from ganforge.card import model_card
from ganforge.config import Settings, plain, write_settings
from ganforge.core.device import fast_bf16, peak_memory, pick_device, settle, threads_for
from ganforge.core.errors import InputError
from ganforge.core.game import Clock, Game, millions
from ganforge.core.watch import Watcher
from ganforge.domains import module_for, open_data
from ganforge.domains.domain import Domain, Part, Source
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import World, join_world
from ganforge.progress import now_and_then, rate, span
from ganforge.recipes.recipe import Recipe, recipe_name

WARM_UP_SECONDS, PICTURES = 2.0, 10
"""Seconds of rounds that are timed. Pictures of samples a run, where the user sets no cadence."""
FEW_SHOWN, QUICK = 8, 1.0
"""So few samples are timed first, and as many as a picture has where these take no more than so many seconds."""

SHORT = 0.1
"""The share of a recipe's own budget below which a run is called short."""
LARGE_BATCH, LONG_ROUND, PROBED = 2**23, 10.0, 4
"""Numbers in a batch (64 images of 3 x 209 x 209) above which so few samples are tried first, and no more than these if
a whole round would take so many seconds."""
LONG = 24 * 3600.0
"""Seconds above which a run is called long."""
FEW, OFTEN = 500, 50
"""So few images, each seen so often, are learned by heart."""


@dataclass
class Plan:
    """All that a run is made from."""

    settings: Settings
    recipe: Recipe
    domain: Domain
    source: Source
    data_options: Any
    options: TrainOptions
    world: World
    held: Source | None = None
    """Real data that the run does not see."""
    within: bool = False
    """Whether another command trains it, for a user who knows that there are few images."""

    def build(self) -> Game:
        """The game with its initial weights, a function of the seed."""
        reseed(self.options.seed, "weights")
        return self.recipe.build(self.domain)

    def trainer(self, game: Game, run: Run | None = None, watchers: Sequence[Watcher] = ()) -> Trainer:
        """A trainer for ``game``."""
        facts = {"recipe": recipe_name(type(self.recipe)), "params": plain(self.recipe), "ganforge": __version__}
        card = model_card(self.recipe, self.domain, self.source, self.settings.path, self.options.seed) if run else ""
        return Trainer(
            game, self.source, self.domain, self.options, self.recipe.batch, self.world, run, watchers, facts, card,
            self.held,
        )  # fmt: skip

    def yaml(self) -> str:
        """The resolved settings."""
        name = recipe_name(type(self.recipe))
        return write_settings(name, self.settings.path, self.recipe, self.data_options, self.options)


@dataclass(frozen=True)
class Estimate:
    """What a run will take: rounds, seconds (None where only time ends it), samples a second, bytes of memory."""

    rounds: int
    seconds: float
    samples_per_second: float
    memory_bytes: int
    parameters: Mapping[str, int]
    whole: float = 0.0
    """Seconds of the recipe's own budget (0: at the same rate)."""
    last_phase: tuple[int, float] = (0, 0.0)
    """The real samples, and the seconds, after which the last kind of rounds begins."""
    aside: float = 0.0
    """Those of the seconds in which samples are made, to be looked at and saved with, and nothing is learned."""
    judged: bool = False
    """Whether evaluations come on top, of which nobody knows yet how long they take."""

    def line(self) -> str:
        """One line for people."""
        parameters = ", ".join(f"{name} {millions(count)}" for name, count in self.parameters.items())
        aside = f" ({span(self.aside)} of it for sample pictures)" if self.aside > 0.1 * self.seconds else ""
        judged = " and evaluations" if self.judged else ""
        noun = "round" if self.rounds == 1 else "rounds"
        return (
            f"estimate: {self.rounds:,} {noun}, {span(self.seconds)}{aside}{judged} at {rate(self.samples_per_second)} "
            f"samples/s, {self.memory_bytes / 2**30:.2f} GiB of memory; parameters: {parameters}"
        )


def make_plan(settings: Settings, tell: Callable[[str], None]) -> Plan:
    """Read the data and resolve all settings. InputError for whatever is wrong with them."""
    settings.recipe_class()
    if not settings.path:
        raise InputError("no data given: --data FOLDER, a file, or a built-in set such as digits")
    options = settings.train_options()
    device = "cpu" if options.device == "auto" and not torch.cuda.is_available() else options.device
    data_options = settings.data_options()
    heard = now_and_then(tell, "samples read")
    domain, source = open_data(settings.path, data_options, settings.recipe_class().kinds, heard)
    for message in getattr(source, "messages", ()):
        tell(message)
    recipe = settings.build_recipe(domain)
    if options.samples is options.minutes is options.rounds is None:
        options = replace(options, samples=recipe.budget(domain))
    if options.precision == "auto":
        place = pick_device(device)  # recurrent networks were measured on CPUs only
        suits = len(domain.shape) in (3, 4) or (domain.sequential and place.type == "cpu")
        quicker = suits and fast_bf16(place)
        options = replace(options, precision="bf16" if quicker else "fp32")
    source, held = set_aside(settings, options.holdout, domain, source, data_options)
    check_gpus(device)
    torch.set_num_threads(options.threads or threads_for(recipe.batch * math.prod(domain.shape)))
    world = join_world("cuda" if device in ("auto", "cuda") else device, options.shards, options.timeout_minutes)
    return Plan(settings, recipe, domain, source, data_options, replace(options, shards=world.shards), world, held)


def set_aside(
    settings: Settings, holdout: str | None, domain: Domain, source: Source, data_options: Any
) -> tuple[Source, Source | None]:
    """What is trained on, and what is held out: a share of the data, or other data of the same kind and shape."""
    if holdout is None:
        return source, None
    share: float | str = holdout
    with contextlib.suppress(ValueError):
        share = float(share)
    if isinstance(share, str):
        return source, other_data(settings, holdout, domain, source, data_options)
    aside = round(share * len(source)) if 0 < share < 1 else 0
    if aside < 1 or aside >= len(source):
        raise InputError(f"train.holdout: give other data, or a share of the {len(source)} samples such as 0.1")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    return Part(source, order[aside:].sort().values), Part(source, order[:aside].sort().values)


def other_data(settings: Settings, path: str, domain: Domain, source: Source, data_options: Any) -> Source:
    """The held-out data at ``path``, read as the training data are."""
    same = replace(data_options, **domain.reading)
    kinds = settings.recipe_class().kinds
    module = module_for(path, kinds)
    options = module.OPTIONS
    if type(same) is not options and (isinstance(same, options) or issubclass(options, type(same))):
        shared = {f.name for f in fields(options)} & {f.name for f in fields(same)}
        same = options(**{name: getattr(same, name) for name in shared})  # shards, and images in a folder
    if type(same) is not options:
        raise InputError(f"train.holdout: {path} is not of the kind of {settings.path}, {domain.kind}")
    apart = {name: None for name in getattr(same, "ELSEWHERE", ()) if getattr(same, name) is not None}
    try:
        other, held = module.open_like(path, domain) if domain.coded else open_data(path, replace(same, **apart), kinds)
    except InputError as error:
        why = f" ({', '.join(f'data.{name}' for name in apart)} is of the training data alone)" if apart else ""
        raise InputError(f"train.holdout: {error}{why}") from error
    if (other.kind, other.shape) != (domain.kind, domain.shape):
        raise InputError(f"train.holdout: {path} holds {other.kind} of shape {other.shape}, not {domain.shape}")
    if held.fingerprint == source.fingerprint:
        raise InputError(f"train.holdout: {path} holds the same data as {settings.path}")
    return held


def check_gpus(device: str) -> None:
    """InputError when more processes were started here than there are GPUs."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device in ("auto", "cuda") and torch.cuda.is_available() and processes > torch.cuda.device_count():
        raise InputError(f"{processes} processes were asked for, but there are {torch.cuda.device_count()} GPUs here")


def estimate(plan: Plan) -> Estimate:
    """Measure a few rounds of a throwaway game: the run's time and memory, before anything is written.

    Where later rounds are others than the first (a generator imitates before it plays), some of each kind."""
    if (tried := probe(plan)) is not None:
        return tried
    trainer = plan.trainer(plan.build())
    play(trainer)
    rounds, seconds = timed(plan, trainer, WARM_UP_SECONDS)
    per_round = seconds / rounds
    every = max(move.every for move in trainer.game.moves(trainer.clock))
    if rounds < every:  # too few to hold the lazy moves in proportion
        trainer.clock, started = Clock(), time.perf_counter()
        play(trainer)
        per_round += (plan.world.agree(time.perf_counter() - started) - per_round) / every
    costs = [(0, per_round)]
    for begin in [math.ceil(turn / plan.recipe.batch) for turn in trainer.game.turns if turn]:
        trainer.clock = Clock(begin, begin * plan.recipe.batch)
        play(trainer)
        rounds, seconds = timed(plan, trainer, WARM_UP_SECONDS / 2)
        costs.append((begin, seconds / rounds))
    return expected(plan, trainer.game, costs, peak_memory(trainer.device), pause(plan, trainer))


def pause(plan: Plan, trainer: Trainer) -> float:
    """The seconds of making the samples of a picture, with what comes before it (BatchNorm's moments); where that is
    long, a guess from a few samples, rather too high than too low."""
    whole, started, seconds = plan.domain.shown, time.perf_counter(), 0.0
    with trainer.sampling():
        before = time.perf_counter() - started
        for count in sorted({min(FEW_SHOWN, whole), whole}):
            started = time.perf_counter()
            plan.domain.decode(trainer.game.sample(trainer.draw(count, "snapshot")))
            settle(trainer.device)
            seconds = (time.perf_counter() - started) * whole / count
            if seconds > QUICK:
                break
    return plan.world.agree(before + seconds)


def pictures(plan: Plan, rounds: int) -> int:
    """How often samples are made in so many rounds: at the start, now and then, and once more at the end."""
    every = plan.options.snapshot_samples
    return 2 + min(rounds, PICTURES if every is None else rounds * plan.recipe.batch // every)


def play(trainer: Trainer) -> None:
    """A round, and a GPU's part of it: without waiting, only its launches would be timed."""
    trainer.round()
    settle(trainer.device)


def timed(plan: Plan, trainer: Trainer, long: float) -> tuple[int, float]:
    """Rounds, and their seconds: as many as take ``long``, one at least; all processes play as many."""
    started, rounds, seconds = time.perf_counter(), 0, 0.0
    while rounds < 1 or (seconds < long and rounds < 200):
        play(trainer)
        rounds, seconds = rounds + 1, plan.world.agree(time.perf_counter() - started)
    return rounds, seconds


def expected(plan: Plan, game: Game, costs: Sequence[tuple[int, float]], memory: int, pause: float = 0.0) -> Estimate:
    """What rounds come to: ``costs`` are the rounds from which on a round takes so many seconds, ``pause`` is what a
    picture takes."""
    options, batch = plan.options, plan.recipe.batch
    limits = (
        options.rounds,
        math.ceil(options.samples / batch) if options.samples is not None else None,
        affordable(plan, costs, 60 * options.minutes, pause) if options.minutes else None,
    )
    rounds = min(n for n in limits if n is not None)
    parameters = {name: sum(p.numel() for p in player.parameters()) for name, player in game.players.items()}
    seconds, usual = lasting(costs, rounds), math.ceil(plan.recipe.budget(plan.domain) / batch)
    aside, whole = (pause * pictures(plan, n) for n in (rounds, usual))
    last = (costs[-1][0] * batch, lasting(costs, costs[-1][0]))
    return Estimate(
        rounds, seconds + aside, rounds * batch / seconds, memory, parameters, lasting(costs, usual) + whole, last,
        aside, options.evaluates,
    )  # fmt: skip


def affordable(plan: Plan, costs: Sequence[tuple[int, float]], seconds: float, pause: float) -> int:
    """The rounds that so many seconds leave time for, one at least."""
    left = seconds - pause * pictures(plan, within(costs, seconds))
    return within(costs, left) if left > 0 else 1


def lasting(costs: Sequence[tuple[int, float]], rounds: int) -> float:
    """The seconds of so many rounds."""
    ends = [*(begin for begin, _ in costs[1:]), math.inf]
    return sum(each * max(min(rounds, end) - begin, 0) for (begin, each), end in zip(costs, ends, strict=True))


def within(costs: Sequence[tuple[int, float]], seconds: float) -> int:
    """The rounds that take so many seconds, the last one whole."""
    for (begin, each), (end, _) in zip(costs, [*costs[1:], (math.inf, 0.0)], strict=True):
        if seconds <= each * (end - begin):
            return begin + math.ceil(seconds / each)
        seconds -= each * (end - begin)
    raise AssertionError("the last stage has no end")


def probe(plan: Plan) -> Estimate | None:
    """A guess from rounds of few samples, where a batch is so large that a whole round takes long, or more memory than
    there is; else None: whole rounds tell more."""
    batch = next((n for n in range(PROBED, plan.recipe.batch // 2 + 1) if plan.recipe.batch % n == 0), 0)
    if plan.recipe.batch * math.prod(plan.domain.shape) < LARGE_BATCH or not batch or plan.world.shards > 1:
        return None
    try:
        few = replace(plan, recipe=replace(plan.recipe, batch=batch))
        before = psutil.Process().memory_info().rss
        trainer = few.trainer(few.build())
    except (InputError, ValueError):  # a recipe that cannot have so small a batch
        return None
    memory, times = 0, plan.recipe.batch / batch
    play(trainer)
    started = time.perf_counter()
    play(trainer)
    per_round = times * (time.perf_counter() - started)
    if trainer.device.type == "cpu":
        memory = before + round(times * max(peak_memory(trainer.device) - before, 0))
    if per_round < LONG_ROUND and memory_warning(memory) is None:
        return None
    return expected(plan, trainer.game, [(0, per_round)], memory or peak_memory(trainer.device))


def memory_warning(memory: int) -> str | None:
    """A warning when the estimate comes near what this machine has free."""
    free = psutil.virtual_memory().available
    if memory > 0.9 * (free + psutil.Process().memory_info().rss):
        return f"memory: about {memory / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free; lower batch or size"
    return None


def cautions(plan: Plan, guess: Estimate) -> list[str]:
    """What to say before a run: too little memory, too little time or too much, too few images."""
    on_gpu = pick_device(plan.options.device).type == "cuda"  # whose own memory has just been tried
    found = [None if on_gpu else memory_warning(guess.memory_bytes)]
    usual, seen = plan.recipe.budget(plan.domain), guess.rounds * plan.recipe.batch
    if seen < SHORT * usual:
        whole = span(guess.whole or usual / guess.samples_per_second)
        found.append(
            f"short: {seen:,} samples are {100 * seen / usual:.2g} % of this recipe's own budget of {usual:,} (about "
            f"{whole} here): expect unfinished samples"
        )
    elif seen <= guess.last_phase[0]:
        begins, after = guess.last_phase
        found.append(
            f"short: the run ends before its last phase, which begins after {begins:,} samples (about {span(after)})"
        )
    if guess.seconds > LONG:
        found.append("long: a smaller --resolution, --size or --batch is quicker; --minutes sets an end")
    count = len(plan.source)
    if not plan.within and plan.domain.plain_images and count < FEW and seen >= OFTEN * count:
        helps = ", or --set augment=ada" if getattr(plan.recipe, "augment", None) == "" else ""
        told = "" if plan.held is not None else "; --holdout 0.1 shows it"
        found.append(
            f"few: {count:,} images, each seen {seen // count:,} times, will be memorized: find more{helps}" + told
        )
    found.append(unused_labels(plan))
    return [each for each in found if each]


def unused_labels(plan: Plan) -> str | None:
    """That labels go unused, where the recipe would take them by itself if each class had more images."""
    domain, recipe = plan.domain, type(plan.recipe)
    if not domain.counts:
        return None
    many = replace(domain, counts=(10**6,) * len(domain.counts))
    now, then = recipe.defaults_for(domain), recipe.defaults_for(many)
    for name in ("conditioning", "labels"):
        if (
            then.get(name) == now.get(name)
            or getattr(plan.recipe, name) != now.get(name)
            or name in plan.settings.params
        ):
            continue
        least = min(range(len(domain.counts)), key=domain.counts.__getitem__)
        return (
            f"labels: not used, since class {domain.classes[least]} has only {domain.counts[least]:,} samples; "
            f"--set {name}={str(then[name]).lower()} uses them all the same"
        )
    return None


def facts(plan: Plan, forked_from: str | None = None) -> dict[str, Any]:
    """run.json: what the run was made with."""
    return {
        "forked_from": forked_from,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {"ganforge": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "platform": platform.platform(),
        "command": sys.argv,
        "started_in": os.getcwd(),
        "budget": plan.recipe.budget(plan.domain),
        "data": {"path": plan.settings.path, "count": len(plan.source), "fingerprint": plan.source.fingerprint},
        "world": {"processes": plan.world.size, "shards": plan.world.shards, "threads": torch.get_num_threads()},
    }
