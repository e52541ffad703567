"""StyleGAN2's networks (Karras et al. 2020, arXiv 1912.04958), for images of any size.

Both work on a grid that is doubled (halved) as in ``convnet``: 64 x 64 is 4 doublings of 4 x 4, 28 x 28 is 2 of
7 x 7. A size that is no such multiple is generated a little larger and cropped evenly, and padded back for the
discriminator.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.convnet import channels, grid, grid_padding, middle
from ganforge.nn.equalized import GAIN, EqualizedConv, EqualizedEmbedding, EqualizedLinear, leaky, pixel_norm
from ganforge.nn.layers import MinibatchStddev
from ganforge.ops.noise import Prior, latents_on
from ganforge.ops.resample import BINOMIAL, blur, downsample, filter_2d, upsample


def modulated_convolution(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    demodulate: bool = True,
    up: bool = False,
    fused: bool = False,
    padding: int | None = None,
    gain: float | Tensor = 1.0,
) -> Tensor:
    """A convolution whose input channels are scaled for each sample, the output's variance restored (eqs. 1 and 3).

    w'_ijk = s_i w_ijk, w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + eps). ``x`` [n, i, h, w], ``weight`` [o, i, k, k],
    ``style`` [n, i] -> [n, o, h, w]; with ``up`` a transposed convolution with stride 2, [n, o, 2 h + k - 2, ..].
    ``padding`` other than k // 2 changes the size; all is multiplied by ``gain``.

    Fused, each sample has its weights and is a group of one grouped convolution, as in the paper. Otherwise inputs and
    outputs are scaled in place of weights, which is the same numbers, and quicker on CPUs: G's moves take 1.4 times as
    long fused at 64 pixels (width 8), and 3.4 to 4 times at 8 (width 16).
    """
    n, (outputs, inputs, k, _) = len(x), weight.shape
    demodulation, around = None, k // 2 if padding is None else padding
    if demodulate:
        demodulation = (style.square() @ weight.square().sum((2, 3)).t() + 1e-8).rsqrt() * gain  # [n, o]
    else:
        style = style * gain
    if fused:
        each = weight * style[:, None, :, None, None]  # [n, o, i, k, k]
        if demodulation is not None:
            each = each * demodulation[:, :, None, None, None]
        x = x.reshape(1, n * inputs, *x.shape[2:])
        if up:
            y = F.conv_transpose2d(x, each.transpose(1, 2).reshape(n * inputs, outputs, k, k), stride=2, groups=n)
        else:
            y = F.conv2d(x, each.reshape(n * outputs, inputs, k, k), padding=around, groups=n)
        return y.reshape(n, outputs, *y.shape[2:])
    x = x * style[:, :, None, None].to(x.dtype)
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2) if up else F.conv2d(x, weight, padding=around)
    return y if demodulation is None else y * demodulation[:, :, None, None].to(y.dtype)


class StyledConv(nn.Module):
    """Modulated 3 x 3 convolution (doubling first, if ``up``), noise, bias, leaky ReLU: figure 2 (c).

    ``size`` is that of the output. In training mode the noise is fresh; otherwise it is a fixed buffer. ``normalize``:
    each position's features end with mean square 1, as ProGAN's do. Demodulation alone goes by the weights and takes
    the inputs to be independent: where few channels are not, what all images share outgrows what tells them apart.
    """

    kernel: Tensor
    noise: Tensor

    def __init__(
        self, inputs: int, outputs: int, latent: int, size: tuple[int, int], up: bool = False, normalize: bool = False
    ) -> None:
        super().__init__()
        self.up, self.normalize = up, normalize
        self.style = EqualizedLinear(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.scale = 1 / math.sqrt(inputs * 9)
        self.register_buffer("kernel", filter_2d(BINOMIAL), persistent=False)
        self.register_buffer("noise", torch.randn(1, 1, *size))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``x`` [n, inputs, h, w], ``w`` [n, latent] -> [n, outputs, h, w], or twice that size."""
        y = modulated_convolution(x, self.weight * self.scale, self.style(w), up=self.up, gain=GAIN)
        if self.up:  # transposed: one pixel more than twice the size; the filter takes it away
            y = blur(y, self.kernel, extra=(-1, 0), gain=4.0)
        noise = torch.randn(len(y), 1, *y.shape[2:], device=y.device) if self.training else self.noise
        # the nonlinearity's gain has come in before it: one pass over the map less
        y = y + (noise * (self.strength * GAIN)).to(y.dtype) + (self.bias * GAIN).to(y.dtype)[:, None, None]
        y = F.leaky_relu(y, 0.2)
        return pixel_norm(y) if self.normalize else y


class ToImage(nn.Module):
    """Modulated 1 x 1 convolution to colors, not demodulated."""

    def __init__(self, inputs: int, colors: int, latent: int) -> None:
        super().__init__()
        self.style = EqualizedLinear(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(colors, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(colors))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        y = modulated_convolution(x, self.weight * self.scale, self.style(w), demodulate=False)
        return y + self.bias.to(y.dtype)[:, None, None]


class Mapping(nn.Module):
    """z (and the class) to w: both normalized, then ``depth`` layers with ``lr`` of the learning rate.

    ``average`` is the mean of w, followed in training mode: the center that truncation draws near.
    """

    average: Tensor

    def __init__(self, latent: int, depth: int, classes: int, follow: float = 0.995, lr: float = 0.01) -> None:
        super().__init__()
        self.embedding = EqualizedLinear(classes, latent) if classes else None
        first = 2 * latent if classes else latent
        sizes = [first, *[latent] * depth]
        self.layers = nn.ModuleList(EqualizedLinear(a, b, lr=lr) for a, b in pairwise(sizes))
        self.register_buffer("average", torch.zeros(latent))
        self.classes, self.follow = classes, follow

    def forward(self, z: Tensor, label: Tensor | None, followed: bool = True) -> Tensor:
        """``z`` [n, latent], ``label`` int64 [n] -> w [n, latent]. In training ``average`` moves, if ``followed``."""
        w = pixel_norm(z)
        if self.embedding is not None:
            if label is None:
                raise ValueError("a conditional mapping network needs a label for each sample")
            w = torch.cat([w, pixel_norm(self.embedding(F.one_hot(label, self.classes).to(z.dtype)))], 1)
        for layer in self.layers:
            w = leaky(layer(w))
        if self.training and followed:
            self.average.lerp_(w.detach().to(self.average.dtype).mean(0), 1 - self.follow)
        return w


class MappedGenerator(Generator):
    """A generator that maps z to w, one for each of its ``layers``, and paints what they say.

    In training mode two w are mixed at a random layer with probability ``mixing`` (Karras et al. 2019, section 3.1).
    The second is of a z of its own, drawn from ``prior``. A subclass has ``mapping``, ``layers`` and ``paint``.
    """

    mapping: Mapping
    mixing: float = 0.0
    prior: Prior = "normal"

    @property
    def layers(self) -> int:
        """How many w an image takes."""
        raise NotImplementedError(f"{type(self).__name__} has no layers")

    def paint(self, w: Tensor, shift: Tensor | None = None) -> Tensor:
        """``w`` [n, layers, latent] -> images [n, colors, height, width], moved by ``shift`` [n, 2] (down, right)."""
        raise NotImplementedError(f"{type(self).__name__} paints nothing")

    def styles(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """w of each layer, [n, layers, latent]; mixed in training mode."""
        w = self.mapping(z, label)
        each = w[:, None].expand(-1, self.layers, -1)
        if not self.training or not self.mixing:
            return each
        n = len(z)
        drawn = latents_on(z.device, n, z.shape[1], self.prior).to(z.dtype)
        other = self.mapping(drawn, label, followed=False)
        crossover = torch.randint(1, self.layers, (n,), device=z.device)
        mixed = torch.rand(n, device=z.device) < self.mixing
        layer = torch.arange(self.layers, device=z.device)
        is_other = mixed[:, None] & (layer >= crossover[:, None])
        return torch.where(is_other[:, :, None], other[:, None], each)

    def truncate(self, w: Tensor, psi: Tensor) -> Tensor:
        """w drawn near their average: average + psi (w - average); ``w`` [n, layers, latent], ``psi`` [n]."""
        return torch.lerp(self.mapping.average.to(w.dtype).expand_as(w), w, psi[:, None, None].to(w.dtype))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """``z`` [n, latent], ``label`` int64 [n] -> [n, *shape]."""
        return self.paint(self.styles(z, label))


class StyleGenerator(MappedGenerator):
    """Latents [n, latent] to images [n, colors, height, width]: a constant, styled convolutions, summed images.

    In training mode two w are mixed at a random layer with probability ``mixing`` (Karras et al. 2019, section 3.1),
    and noise is fresh; in evaluation mode the image is a function of z and the label.
    """

    kernel: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: int,
        mapping: int = 8,
        mixing: float = 0.9,
        conditioning: Conditioning = "none",
        classes: int = 0,
        mapping_lr: float = 0.01,
        normalize: bool = False,
        prior: Prior = "normal",
    ) -> None:
        super().__init__(shape, latent, conditioning, classes, "linear")
        doublings, height, breadth = grid(shape[1], shape[2])
        sizes = channels(width, doublings + 1)[::-1]
        self.mixing, self.prior = mixing, prior
        self.mapping = Mapping(latent, mapping, classes if conditioning != "none" else 0, lr=mapping_lr)
        self.constant = nn.Parameter(torch.randn(1, sizes[0], height, breadth))
        self.convs = nn.ModuleList([StyledConv(sizes[0], sizes[0], latent, (height, breadth), normalize=normalize)])
        self.images = nn.ModuleList([ToImage(sizes[0], shape[0], latent)])
        for level, (before, after) in enumerate(pairwise(sizes), 1):
            size = (height * 2**level, breadth * 2**level)
            self.convs.append(StyledConv(before, after, latent, size, up=True, normalize=normalize))
            self.convs.append(StyledConv(after, after, latent, size, normalize=normalize))
            self.images.append(ToImage(after, shape[0], latent))
        self.register_buffer("kernel", filter_2d(BINOMIAL), persistent=False)

    @property
    def layers(self) -> int:
        """How many w an image takes: one for each convolution, and one for the last image."""
        return len(self.convs) + 1

    def paint(self, w: Tensor, shift: Tensor | None = None) -> Tensor:
        """``w`` [n, layers, latent] -> images [n, colors, height, width].

        ``shift`` [n, 2], in images, moves the constant that all begins with: how far that moves the image is what
        ``measure.equivariance`` asks.
        """
        constant = self.constant.expand(len(w), -1, -1, -1)
        x = self.convs[0](constant if shift is None else shifted(constant, shift), w[:, 0])
        image = self.images[0](x, w[:, 1])
        for level in range(1, len(self.images)):
            x = self.convs[2 * level - 1](x, w[:, 2 * level - 1])
            x = self.convs[2 * level](x, w[:, 2 * level])
            with torch.autocast(image.device.type, enabled=False):  # rounding would add up from level to level
                image = upsample(image.to(torch.promote_types(image.dtype, torch.float32)), self.kernel)
            image = image + self.images[level](x, w[:, 2 * level + 1])
        return middle(image, *self.shape[1:])


def shifted(x: Tensor, shift: Tensor) -> Tensor:
    """``x`` [n, c, h, w] moved down and right by ``shift`` [n, 2] of its size, linearly between pixels; edges are
    repeated."""
    eye = torch.eye(2, device=x.device, dtype=x.dtype).expand(len(x), 2, 2)
    turn = torch.cat([eye, -2 * shift.flip(1)[:, :, None].to(x)], 2)
    places = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


class ResidualDown(nn.Module):
    """Two convolutions, the second with stride 2, beside a 1 x 1 convolution: half the size (figure 7)."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualizedConv(inputs, inputs)
        self.second = EqualizedConv(inputs, outputs, stride=2)
        self.skip = EqualizedConv(inputs, outputs, kernel=1, bias=False)
        self.register_buffer("kernel", filter_2d(BINOMIAL), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = leaky(self.first(x))
        y = leaky(self.second(blur(y, self.kernel, extra=(0, 1))), gain=1.0)
        return y + self.skip(downsample(x, self.kernel)) * (1 / GAIN)


class StyleDiscriminator(Discriminator):
    """Images [n, colors, height, width] to logits [n]: residual blocks, minibatch standard deviation, two layers."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        minibatch_stddev: bool = True,
        conditioning: Conditioning = "none",
        classes: int = 0,
        pack: int = 1,
    ) -> None:
        super().__init__(shape, conditioning, classes, pack)
        doublings, height, breadth = grid(shape[1], shape[2])
        self.padding = grid_padding(shape[1], shape[2])
        sizes = channels(width, doublings + 1)
        self.first = EqualizedConv(self.inputs, sizes[0], kernel=1)
        self.blocks = nn.Sequential(*[ResidualDown(a, b) for a, b in pairwise(sizes)])
        self.stddev = MinibatchStddev() if minibatch_stddev else nn.Identity()
        self.last = EqualizedConv(sizes[-1] + minibatch_stddev, sizes[-1])
        self.flat = EqualizedLinear(sizes[-1] * height * breadth, sizes[-1])
        self._add_heads(sizes[-1])
        self.to_logit = EqualizedLinear(sizes[-1], 1)
        if conditioning == "projection":
            self.class_vectors = EqualizedEmbedding(classes, sizes[-1])
        if conditioning == "auxiliary":
            self.to_classes = EqualizedLinear(sizes[-1], pack * classes)

    def encode(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.padding) if any(self.padding) else x
        x = self.blocks(leaky(self.first(x)))
        x = leaky(self.last(self.stddev(x)))
        return leaky(self.flat(x.flatten(1)))
