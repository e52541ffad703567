"""Networks for images from words: a text encoder, a generator that looks at words, a discriminator, and a reader.

Words are numbers, 0 ends a caption and fills what is behind its end.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.convnet import channels, grid, grid_padding, middle
from ganforge.nn.initialize import initialize
from ganforge.nn.layers import MinibatchStddev

HEADS = 4
OVERVIEWS = 4
"""Views of a whole feature map that a teller of captions can look at, besides its places."""


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2): queries [n, a, width] look at items [n, b, of]."""

    def __init__(self, width: int, of: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = next(h for h in range(heads, 0, -1) if width % h == 0)
        self.query, self.pair = nn.Linear(width, width), nn.Linear(of, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, items: Tensor, allowed: Tensor) -> Tensor:
        """[n, a, width]; ``allowed`` (bool, [n or 1, a or 1, b]) says which items may be looked at."""
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.query(x), *self.pair(items).chunk(2, -1))
        )  # fmt: skip
        # so small that PyTorch's fused attention takes longer on CPUs
        weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).masked_fill(~allowed[:, None], float("-inf"))
        found = weights.softmax(3).to(v.dtype) @ v
        return self.out(found.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer's layer, normalized first: attention among items, to others if ``of``, and two linear layers."""

    def __init__(self, width: int, of: int = 0, among: bool = True) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among = Attention(width, width) if among else None
        self.others = Attention(width, of) if of else None
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, allowed: Tensor, others: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        """``x`` [n, a, width]; ``allowed`` masks its own items, ``seen`` those of ``others`` [n, b, of]."""
        if self.among is not None:
            y = self.norms[0](x)
            x = x + self.among(y, y, allowed)
        if self.others is not None:
            assert others is not None and seen is not None
            x = x + self.others(self.norms[1](x), others, seen)
        return x + self.layers(self.norms[2](x))


class TextEncoder(nn.Module):
    """Captions int64 [n, length] to word features [n, length, width] and sentence features [n, width]: a transformer.

    Word and place embeddings, attention among all words, and their mean.
    """

    def __init__(self, tokens: int, length: int, width: int, layers: int = 2) -> None:
        super().__init__()
        self.embedding, self.place = nn.Embedding(tokens, width), nn.Parameter(0.5 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, caption: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(words, sentence, there): ``there`` (bool [n, 1, length]) says which words are there."""
        there = caption != 0
        there = (there | F.pad(torch.ones_like(there[:, :1]), (0, there.shape[1] - 1)))[:, None]  # never none at all
        x = self.embedding(caption) + self.place
        for block in self.blocks:
            x = block(x, there)
        words = self.norm(x)
        weight = there.transpose(1, 2).to(words.dtype)
        return words, (words * weight).sum(1) / weight.sum(1), there


class LookAtWords(nn.Module):
    """Each place of a feature map [n, size, h, w] looks at the words, then goes through two linear layers."""

    def __init__(self, size: int, width: int, places: int) -> None:
        super().__init__()
        self.place = nn.Parameter(0.25 * torch.randn(places, size))
        self.block = Block(size, of=width, among=False)

    def forward(self, x: Tensor, words: Tensor, there: Tensor) -> Tensor:
        items = x.flatten(2).transpose(1, 2) + self.place
        return self.block(items, there, words, there).transpose(1, 2).unflatten(2, x.shape[2:])


class TextGenerator(nn.Module):
    """Latents [n, latent] and captions [n, length] to images [n, colors, height, width] in [-1, 1].

    The sentence, its features drawn from a normal distribution (conditioning augmentation, StackGAN, sec. 3.2), gives
    with z the coarsest feature map. Its places, and those of the next finer one, look at the words (AttnGAN, sec. 3.1,
    at coarse maps); what they have become then scales and shifts all finer maps (as in SSA-GAN, there with a mask).
    """

    def __init__(self, shape: tuple[int, ...], tokens: int, length: int, latent: int, width: int, size: int) -> None:
        super().__init__()
        self.shape = shape
        doublings, *self.base = grid(shape[1], shape[2])
        sizes = channels(size, doublings)[::-1]
        self.latent, self.augmented = latent, width
        self.text = TextEncoder(tokens, length, width)
        self.augment = nn.Linear(width, 2 * width)
        self.first = nn.Linear(latent + width, sizes[0] * self.base[0] * self.base[1])
        places = self.base[0] * self.base[1]
        self.looks = nn.ModuleList(LookAtWords(s, width, 4**i * places) for i, s in enumerate(sizes[:2]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(s, affine=False) for s in sizes)
        self.styles = nn.ModuleList(nn.Conv2d(sizes[0], 2 * s, 1) for s in sizes)
        self.convs = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in pairwise([*sizes, shape[0]]))
        # at first, images differ little by chance, so that how they differ by words is found sooner
        nn.init.normal_(self.first.weight, 0.0, 0.02)
        nn.init.constant_(self.augment.bias[width:], -2.0)
        for conv in self.convs:
            nn.init.normal_(conv.weight, 0.0, 0.02)  # type: ignore[arg-type]
        for style in self.styles:
            nn.init.normal_(style.weight, 0.0, 0.05)  # type: ignore[arg-type]

    def describe(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the augmented sentence, [n, width] each."""
        mean, log_sd = self.augment(sentence).chunk(2, 1)
        return mean, log_sd.clamp(-5, 2)

    def forward(self, z: Tensor, caption: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(images, mean, log_sd); ``z`` [n, latent + width]: its last numbers are the augmentation's noise."""
        words, sentence, there = self.text(caption)
        mean, log_sd = self.describe(sentence)
        z, noise = z.split([self.latent, self.augmented], 1)
        x = self.first(torch.cat([z, mean + log_sd.exp() * noise], 1)).unflatten(1, (-1, *self.base))
        context = x = self.looks[0](x, words, there)
        for level, (norm, style, conv) in enumerate(zip(self.norms, self.styles, self.convs, strict=True)):
            if level == 1:
                x = self.looks[1](x, words, there)
            scale, shift = F.interpolate(style(context), scale_factor=float(2**level), mode="nearest").chunk(2, 1)
            x = conv(F.relu(norm(x) * (1 + scale) + shift))
        return middle(x, *self.shape[1:]).tanh(), mean, log_sd


class EdgeConv2d(nn.Conv2d):
    """A convolution whose kernels have mean 0: an even grey, such as a black background, is nothing to it.

    To a network without normalization it would be most of what it sees, and keep it from learning the rest.
    """

    def forward(self, input: Tensor) -> Tensor:
        """As of Conv2d."""
        return self._conv_forward(input, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class Halvings(nn.Sequential):
    """DCGAN's discriminator without norms: images [n, colors, height, width] to the coarsest map [n, top, h, w].

    ``map_shape`` is (top, h, w).
    """

    def __init__(self, shape: tuple[int, ...], size: int) -> None:
        doublings, height, breadth = grid(shape[1], shape[2])
        sizes = channels(size, doublings)
        layers: list[nn.Module] = []
        for a, b in pairwise([shape[0], *sizes]):
            layers += [nn.Conv2d(a, b, 4, 2, 1) if layers else EdgeConv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2)]
        super().__init__(*layers)
        self.padding, self.map_shape = grid_padding(shape[1], shape[2]), (sizes[-1], height, breadth)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, self.padding) if any(self.padding) else input)


class TextDiscriminator(nn.Module):
    """Images to feature maps, and these with a sentence to logits (Reed et al. 2016, sec. 4.1)."""

    def __init__(
        self, shape: tuple[int, ...], tokens: int, length: int, width: int, size: int, minibatch_stddev: bool = False
    ) -> None:
        super().__init__()
        self.layers = Halvings(shape, size)
        top, height, breadth = self.layers.map_shape
        self.stddev = MinibatchStddev() if minibatch_stddev else nn.Identity()
        self.text = TextEncoder(tokens, length, width, layers=1)
        self.image, self.sentence = nn.Conv2d(top + minibatch_stddev, top, 1), nn.Linear(width, top)
        self.joint = nn.Conv2d(top, top, 1)
        self.head = nn.Linear(top * height * breadth, 1)
        self.project = nn.Linear(top * height * breadth, width)
        initialize(self, "kaiming", "none")
        nn.init.normal_(self.text.embedding.weight, 0.0, 0.5)

    def features(self, x: Tensor) -> Tensor:
        """Images [n, colors, height, width] to the coarsest map [n, top, h, w]."""
        return self.layers(x)

    def logit(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Logits [n] of feature maps with sentences [n, width]: both joined, and their inner product (Miyato & Koyama
        2018)."""
        h = self.image(self.stddev(features)) + self.sentence(sentence)[:, :, None, None]
        h = F.leaky_relu(self.joint(F.leaky_relu(h, 0.2)), 0.2).flatten(1)
        return self.head(h)[:, 0] + (self.project(h) * sentence).sum(1) / sentence.shape[1] ** 0.5


class TextReader(nn.Module):
    """Images to captions: foretells each word from those before it and the image (MirrorGAN, sec. 3.3).

    A transformer that looks at the places of a coarse map of the image, and at a few views of all of it.
    """

    def __init__(self, shape: tuple[int, ...], tokens: int, length: int, width: int, size: int) -> None:
        super().__init__()
        self.layers = Halvings(shape, size)
        top, height, breadth = self.layers.map_shape
        self.norm = nn.LayerNorm(top)
        self.where = nn.Parameter(0.5 * torch.randn(height * breadth, top))
        self.overview = nn.Linear(top * height * breadth, OVERVIEWS * top)
        initialize(self, "kaiming", "none")
        self.start = nn.Embedding(tokens + 1, width)
        self.place = nn.Parameter(0.5 * torch.randn(length, width))
        self.block = Block(width, of=top)
        self.read_norm = nn.LayerNorm(width)
        self.word = nn.Linear(width, tokens)

    def forward(self, x: Tensor, caption: Tensor) -> Tensor:
        """Logits [n, length, tokens] of each word of captions, from images and the words before it."""
        features = self.layers(x)
        whole = F.leaky_relu(self.overview(features.flatten(1)), 0.2).unflatten(1, (OVERVIEWS, -1))
        items = torch.cat([self.norm(features.flatten(2).transpose(1, 2)) + self.where, whole], 1)
        before = F.pad(caption[:, :-1] + 1, (1, 0))  # 0 stands for the start
        length = caption.shape[1]
        causal = torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
        seen = torch.ones(1, 1, items.shape[1], dtype=torch.bool, device=x.device)
        return self.word(self.read_norm(self.block(self.start(before) + self.place, causal, items, seen)))
