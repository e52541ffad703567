"""The two-player family: a generator and a discriminator, an adversarial loss, penalties, and the tricks of the trade.

A GAN of this family is a set of values: see ``dcgan.py``. Every trick is a field that any of its recipes takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Notes, PerShard, Player, Terms
from ganforge.core.schedule import Scalar, Schedule, value_at
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, flipped, halfway_at_zero, smoothed
from ganforge.losses.auxiliary import auxiliary_classification
from ganforge.losses.regularizers import Probe, Regularizer, gradient_penalty, r1, r2
from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.convnet import ConvDiscriminator, ConvGenerator, Upsample
from ganforge.nn.layers import MinibatchDiscrimination, MinibatchStddev, Norm
from ganforge.nn.mlp import Activation, MlpDiscriminator, MlpGenerator
from ganforge.ops.ada import AdaptiveAugment, categories
from ganforge.ops.augment import diff_augment, steps
from ganforge.ops.nearness import nearness
from ganforge.ops.noise import Prior, add_instance_noise, draw_latents, latents_on, random_signs
from ganforge.recipes.recipe import Positive, Recipe, Share

LOOK = 8
"""Each so many rounds, fakes are compared with reals for the log."""

NonNegative = Annotated[float, Field(ge=0)] | Schedule


@dataclass(frozen=True, kw_only=True)
class TwoPlayerRecipe(Recipe):
    """Hyper-parameters of a generator and a discriminator at play. A subclass is other defaults, and its loss.

    network: conv for images, mlp for anything, auto picks by the data
    depth: hidden layers of an mlp
    activation: of an mlp's hidden layers
    fourier: octaves of sines and cosines that an mlp discriminator sees of its inputs
    latent: size of z
    latent_signs: so many further entries of z are -1 or 1, so that modes can lie apart
    prior: distribution of z: normal, uniform on [-1, 1], or on the sphere
    upsample: transposed convolution, or nearest-neighbor resize and convolution
    norm_generator, norm_discriminator: normalizers: batch, none, spectral, instance or layer
    lr: learning rate of G, and of D unless lr_discriminator is given
    lr_discriminator: learning rate of D; two rates are TTUR (Heusel et al. 2017)
    betas: Adam's
    optimizer: adam or rmsprop
    discriminator_steps: moves of D for one of G
    ema_samples: half-life, in real samples, of G's average, which is what generates (null: no average)
    r1, r2: gradient penalties on real and on fake samples (gamma)
    gp: WGAN-GP's penalty between real and fake samples
    lazy: r1 and r2 are played only every so many rounds, with as many times the weight
    clip: D's weights are kept within -clip and clip (0: not)
    label_smoothing: real labels are 1 minus this
    label_flips: share of wrong labels that D is told
    instance_noise: standard deviation of noise on all that D sees; may be a schedule
    augment: DiffAugment's policy, such as color,translation,cutout; or ada, whose probability adapts itself
        (ada:blit,color chooses from blit, geometric, color, filter and corrupt; alone it is the first three)
    ada_target: how sure of real images D is to be, from 0 to 1; ada augments more where it is surer
    ada_samples: real samples in which ada's probability goes from 0 to 1 at the fastest (the paper's 500,000 are for
        runs of 25 million)
    replay: share of D's fakes that are past ones
    replay_batches: how many rounds of fakes are kept
    minibatch_stddev: D sees how much a group of samples varies
    minibatch_discrimination: D sees how close each sample is to the others
    pack: samples that D judges at once
    conditioning: how labels are used: none, concat, projection or auxiliary
    class_weight: weight of the auxiliary classifier's loss
    """

    loss: ClassVar[AdversarialLoss]
    fixed: ClassVar[tuple[str, ...]] = ()
    """Fields that mean nothing to a recipe with networks of its own: they keep their defaults."""
    network: Literal["auto", "conv", "mlp"] = "auto"
    depth: Positive = 3
    activation: Activation = "leaky_relu"
    fourier: Annotated[int, Field(ge=0)] = 0
    latent: Positive = 100
    latent_signs: Annotated[int, Field(ge=0)] = 0
    prior: Prior = "normal"
    upsample: Upsample = "transposed"
    norm_generator: Norm = "batch"
    norm_discriminator: Norm = "batch"
    lr: NonNegative = 2e-4
    lr_discriminator: NonNegative | None = None
    betas: tuple[Scalar, Scalar] = (0.5, 0.999)
    optimizer: Literal["adam", "rmsprop"] = "adam"
    discriminator_steps: Positive = 1
    ema_samples: Annotated[float, Field(gt=0)] | Schedule | None = None
    r1: NonNegative = 0.0
    r2: NonNegative = 0.0
    gp: NonNegative = 0.0
    lazy: Positive = 1
    clip: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Share = 0.0
    label_flips: Share = 0.0
    instance_noise: NonNegative = 0.0
    augment: str = ""
    ada_target: Share = 0.6
    ada_samples: Annotated[float, Field(gt=0)] = 100_000.0
    replay: Share = 0.0
    replay_batches: Positive = 16
    minibatch_stddev: bool = False
    minibatch_discrimination: bool = False
    pack: Positive = 1
    conditioning: Conditioning = "none"
    class_weight: Annotated[float, Field(ge=0)] = 1.0

    def __post_init__(self) -> None:
        if self.batch % self.pack:
            raise ValueError(f"pack {self.pack} must divide batch {self.batch}")
        if not categories(self.augment):
            steps(self.augment)
        self.payoffs()
        for name in self.fixed:
            if getattr(self, name) != self.__dataclass_fields__[name].default:
                raise ValueError(f"{name} changes nothing here, as {type(self).__name__} has networks of its own")

    def build(self, domain: Domain) -> Game:
        """The game on networks that suit the data."""
        return TwoPlayer(self, *self.networks(domain), domain)

    def check(self, domain: Domain) -> None:
        """InputError for settings that do not suit the data."""
        image = len(domain.shape) == 3
        if self.network == "conv" and not image:
            raise InputError(f"network conv needs images, but the data are {domain.kind}: set network=mlp")
        if self.augment and not image:
            raise InputError(f"augment changes images, but the data are {domain.kind}: leave it empty")
        if self.conditioning != "none" and not domain.classes:
            raise InputError(
                f"conditioning '{self.conditioning}' needs labels, and the data have none: use class folders or a "
                "metadata.csv with a label column, or set conditioning=none"
            )

    def networks(self, domain: Domain) -> tuple[Generator, Discriminator]:
        """G and D for the data's shape."""
        self.check(domain)
        image = len(domain.shape) == 3
        both: dict[str, Any] = {"conditioning": self.conditioning, "classes": len(domain.classes)}
        alike: dict[str, Any] = {
            "norm": self.norm_discriminator,
            "pack": self.pack,
            "minibatch_stddev": self.minibatch_stddev,
            "minibatch_discrimination": self.minibatch_discrimination,
        }
        output = "tanh" if image else "linear"
        g: dict[str, Any] = {"width": self.size, "norm": self.norm_generator, "output": output, **both}
        d: dict[str, Any] = {"width": self.size, **alike, **both}
        latent = self.latent + self.latent_signs
        if self.network == "conv" or (self.network == "auto" and image):
            G = ConvGenerator(domain.shape, latent, upsample=self.upsample, **g)
            return G, ConvDiscriminator(domain.shape, **d)
        hidden: dict[str, Any] = {"depth": self.depth, "activation": self.activation}
        G = MlpGenerator(domain.shape, latent, **hidden, **g)
        return G, MlpDiscriminator(domain.shape, fourier=self.fourier, **hidden, **d)

    def regularizers(self) -> list[Regularizer]:
        """The penalties whose weight is not 0."""
        some = [r1(self.r1, self.lazy), r2(self.r2, self.lazy), gradient_penalty(self.gp)]
        return [r for r in some if r.weight != 0]

    def payoffs(self) -> AdversarialLoss:
        """The loss, with smoothed and flipped labels where asked for."""
        loss = smoothed(self.loss, self.label_smoothing) if self.label_smoothing else self.loss
        return flipped(loss, self.label_flips) if self.label_flips else loss


class Replay(PerShard):
    """Past fakes, one slot for each of the last ``batches`` rounds (Shrivastava et al. 2017, sec. 2.3)."""

    data: Tensor
    label: Tensor

    def __init__(self, batches: int, size: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("data", torch.zeros(1, batches, size, *shape))
        self.register_buffer("label", torch.zeros(1, batches, size, dtype=torch.int64))

    def allocate(self, shards: int) -> None:
        """Each shard keeps its own share of every batch."""
        size = self.data.shape[2] // shards
        self.data, self.label = self.data[:, :, :size], self.label[:, :, :size]
        super().allocate(shards)

    def swap(
        self, round_: int, shard: int, fake: Tensor, label: Tensor | None, share: float
    ) -> tuple[Tensor, Tensor | None]:
        """Keep ``fake``, and return it with its first ``share`` replaced by fakes of earlier rounds."""
        data, labels = self.data[shard], self.label[shard]
        slot = round_ % len(data)
        kept, kept_label = fake, label
        if round_:
            past = torch.randint(min(round_, len(data)) * len(fake), (int(len(fake) * share),), device=fake.device)
            fake = torch.cat([data.flatten(0, 1)[past], fake[len(past) :]])
            if label is not None:
                label = torch.cat([labels.flatten()[past], label[len(past) :]])
        data[slot] = kept
        if kept_label is not None:
            labels[slot] = kept_label
        return fake, label


class TwoPlayer(Game):
    """A generator G and a discriminator D. G moves first, and D's first move of the round judges the same fakes."""

    def __init__(self, recipe: TwoPlayerRecipe, G: nn.Module, D: Discriminator, domain: Domain) -> None:
        super().__init__()
        self.recipe, self.G, self.D = recipe, G, D
        self.loss = recipe.payoffs()
        self.penalties = recipe.regularizers()
        self.conditions = ("label",) if recipe.conditioning != "none" else ()
        rates: dict[str, Any] = {"betas": recipe.betas, "optimizer": recipe.optimizer}
        lr_discriminator = recipe.lr if recipe.lr_discriminator is None else recipe.lr_discriminator
        self.players = {
            "G": Player([G], lr=recipe.lr, ema_samples=recipe.ema_samples, **rates),
            "D": Player([D], lr=lr_discriminator, **rates),
        }
        chosen = categories(recipe.augment)
        self.ada = AdaptiveAugment(chosen, recipe.ada_target, recipe.ada_samples) if chosen else None
        self.replay = Replay(recipe.replay_batches, recipe.batch, domain.shape) if recipe.replay else None
        coupled = (MinibatchStddev, MinibatchDiscrimination, nn.modules.batchnorm._BatchNorm)
        self.judges_apart = recipe.pack > 1 or any(isinstance(m, coupled) for m in D.modules())
        self.clock = Clock()
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> list[Move]:
        """G, then D as often as its steps say, then the lazy penalties."""
        self.clock = clock
        always = [p for p in self.penalties if p.every == 1]
        lazy = [p for p in self.penalties if p.every > 1]
        judge = Move(
            "D",
            partial(self.judge, always),
            times=self.recipe.discriminator_steps,
            order=2 if always else 1,
            after=self.clip if self.recipe.clip else None,
        )
        return [
            Move("G", self.generate),
            judge,
            *([Move("D", partial(self.regularize, lazy), every=self.recipe.lazy, order=2)] if lazy else []),
        ]

    # ---- what both moves need

    def label(self, batch: Batch) -> Tensor | None:
        """The labels, if the game is conditional."""
        return batch["label"] if self.conditions else None

    def fake(self, batch: Batch) -> Tensor:
        """As many fakes as the batch has samples, of the same classes."""
        n, recipe = len(batch["data"]), self.recipe
        z = latents_on(self.device, n, recipe.latent, recipe.prior)
        if recipe.latent_signs:
            z = torch.cat([z, random_signs(n, recipe.latent_signs, device=self.device)], 1)
        return self.G(z, self.label(batch))

    def features(self, x: Tensor, label: Tensor | None) -> Tensor:
        """D's features of what D is shown: augmented, with instance noise."""
        if self.ada is not None:
            x = self.ada(x)
        elif self.recipe.augment:
            x = diff_augment(x, self.recipe.augment)
        x = add_instance_noise(x, value_at(self.recipe.instance_noise, self.clock.samples))
        return self.D.features(x, label)

    def logit(self, h: Tensor, label: Tensor | None) -> Tensor:
        """D's logits from its features, [batch / pack]: fp32, for the losses' sake."""
        return self.D.logit(h, label).float()

    def logits(self, x: Tensor, label: Tensor | None) -> Tensor:
        """D's logits, [batch / pack]."""
        return self.logit(self.features(x, label), label)

    def value(self, batch: Batch) -> Tensor:
        """V(G, D) of the duality gap, a scalar: what D's adversarial loss alone earns on reals and fresh fakes."""
        label, fake = self.label(batch), self.fake(batch)
        return -self.loss.discriminator(self.logits(batch["data"], label), self.logits(fake, label))

    # ---- moves

    def generate(self, batch: Batch) -> Terms:
        """G's payoff; its fakes are kept for D."""
        label, fake = self.label(batch), self.fake(batch)
        self.made[self.shard] = fake.detach().float()
        h = self.features(fake, label)
        real = self.logits(batch["data"], label) if self.loss.paired else None
        terms = {"loss": self.loss.generator(real, self.logit(h, label))}
        if self.recipe.conditioning == "auxiliary":
            right = auxiliary_classification(self.D.class_logits(h).float(), batch["label"])
            terms["class"] = self.recipe.class_weight * right
        return terms

    def judge(self, penalties: Sequence[Regularizer], batch: Batch) -> Terms:
        """D's payoff, and the penalties that it always pays."""
        real, label = batch["data"], self.label(batch)
        fake = self.made.pop(self.shard, None)
        fake = self.fake(batch) if fake is None else fake
        fake_label = label
        if self.clock.round % LOOK == 0 and len(real) > 1:
            for name, value in nearness(fake, real).items():
                self.note(f"fake/{name}", value)
        if self.replay is not None:
            fake, fake_label = self.replay.swap(self.clock.round, self.shard, fake, label, self.recipe.replay)
        if penalties:
            real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        real_h, fake_h = self.both_features(real, fake, label, fake_label)
        real_logits, fake_logits = self.logit(real_h, label), self.logit(fake_h, fake_label)
        self.note("D/real", real_logits)
        self.note("D/fake", fake_logits)
        self.note("D/pair_right", (real_logits.detach() > fake_logits.detach()).float())
        self.note("D/real_right", (real_logits.detach() > 0).float())
        self.note("D/fake_right", (fake_logits.detach() < 0).float())
        terms = {"loss": self.loss.discriminator(real_logits, fake_logits)}
        if self.recipe.conditioning == "auxiliary":
            right = auxiliary_classification(self.D.class_logits(real_h).float(), batch["label"])
            terms["class"] = self.recipe.class_weight * right
        return {**terms, **self.penalize(penalties, label, real, fake, real_logits, fake_logits)}

    def both_features(self, real: Tensor, fake: Tensor, label: Any, fake_label: Any) -> tuple[Tensor, Tensor]:
        """Features of real and fake: in one pass, unless D looks at a batch as a whole."""
        if self.judges_apart:
            return self.features(real, label), self.features(fake, fake_label)
        labels = None if label is None else torch.cat([label, fake_label])
        real_h, fake_h = self.features(torch.cat([real, fake]), labels).split(len(real))
        return real_h, fake_h

    def regularize(self, penalties: Sequence[Regularizer], batch: Batch) -> Terms:
        """Lazy penalties, on their own: D judges only what they look at."""
        label, places = self.label(batch), {p.at for p in penalties}
        real, fake = batch["data"].detach().requires_grad_(), self.fake(batch).detach().requires_grad_()
        real_logits = self.logits(real, label) if "real" in places else None
        fake_logits = self.logits(fake, label) if "fake" in places else None
        return self.penalize(penalties, label, real, fake, real_logits, fake_logits)

    def penalize(
        self,
        penalties: Sequence[Regularizer],
        label: Tensor | None,
        real: Tensor,
        fake: Tensor,
        real_logits: Tensor | None,
        fake_logits: Tensor | None,
    ) -> Terms:
        """The weighted penalties, by name."""
        places = {p.at for p in penalties}
        looked = [x if at in places else None for at, x in (("real", real_logits), ("fake", fake_logits))]
        probe = Probe(lambda x: self.logits(x, label), real, fake, *looked)
        return {p.name: value_at(p.weight, self.clock.samples) * p.penalty(probe) for p in penalties}

    def clip(self) -> None:
        """Keep D's weights within [-clip, clip] (Arjovsky et al. 2017, alg. 1)."""
        weights, clip = list(self.D.parameters()), self.recipe.clip
        torch._foreach_clamp_min_(weights, -clip)  # pyright: ignore
        torch._foreach_clamp_max_(weights, clip)  # pyright: ignore

    @property
    def adapts(self) -> bool:
        """Only ada looks at every round."""
        return self.ada is not None

    def adapt(self, clock: Clock, notes: Notes) -> None:
        """ada's p follows how often D is right: about reals, or pairs where the sign of D(x) means nothing."""
        if self.ada is not None:
            count, right = notes["D/real_right" if halfway_at_zero(self.loss) else "D/pair_right"]
            self.ada.follow(clock.round, self.recipe.batch, count, right)
            self.note("D/ada_p", self.ada.p.clone())

    def look(self, held: Batch) -> None:
        """How often D ranks a real sample that it was not trained on above a fake: its score where that is lower."""
        label = self.label(held)
        real = self.logits(held["data"], label)
        self.note("D/held_real", real)
        self.note("D/held_pair_right", (real > self.logits(self.fake(held), label)).float())

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent + latent_signs]. InputError where the prior cannot be truncated so."""
        try:
            z = draw_latents(n, self.recipe.latent, self.recipe.prior, generator, truncation)
        except ValueError as error:
            raise InputError(str(error)) from None
        return {"z": torch.cat([z, random_signs(n, self.recipe.latent_signs, generator)], 1)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape] from ``z`` and, for a conditional game, ``label``."""
        return {**inputs, "data": self.G(inputs["z"], self.label(inputs))}
