"""Likelihoods of data: normal and logistic distributions, mixtures of them, and the same on a grid of grey levels.

On a grid, a pixel in [-1, 1] has ``levels`` + 1 values (255 + 1 for 8 bits); its probability is that of its bin, and
the outermost bins reach to infinity (PixelCNN++, Salimans et al. 2017, eq. 2). All logarithms are natural.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_LOG_SCALE = -7.0
"""Below it a logistic's scale is an eighth of an 8-bit level, and nothing is gained."""


def bits_per_dim(log_prob: Tensor, dims: int) -> Tensor:
    """Nats of whole samples [n] to bits per value: -log2 p / dims. Lower is better."""
    return -log_prob / (dims * math.log(2))


def sum_values(x: Tensor) -> Tensor:
    """The sum over all but the first dimension: [n, ...] -> [n]."""
    return x.flatten(1).sum(1)


def normal_log_prob(x: Tensor, mean: Tensor | float = 0.0, log_sd: Tensor | float = 0.0) -> Tensor:
    """log N(x; mean, exp(log_sd)^2) of each value, shaped like ``x``."""
    log_sd = torch.as_tensor(log_sd, dtype=x.dtype, device=x.device)
    return -0.5 * ((x - mean) * torch.exp(-log_sd)).square() - log_sd - 0.5 * math.log(2 * math.pi)


def normal_kl(mean: Tensor, log_sd: Tensor) -> Tensor:
    """KL(N(mean, sd^2) || N(0, 1)) of each value (Kingma & Welling 2014, app. B)."""
    return 0.5 * (mean.square() + torch.exp(2 * log_sd) - 1) - log_sd


def discretized_logistic(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """log P of each pixel ``x`` on the grid, under a logistic distribution; all arguments broadcast.

    With a > b the bin's edges in units of the scale, sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)):
    exact in the far tails too, where the difference itself would be 0.
    """
    inverse = torch.exp(-log_scale)
    upper, lower = (x - mean + 1 / levels) * inverse, (x - mean - 1 / levels) * inverse
    below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
    within = below + above + torch.log(-torch.expm1(-2 / levels * inverse))
    half = 0.5 / levels
    return torch.where(x < -1 + half, below, torch.where(x > 1 - half, above, within))


def discretized_normal(x: Tensor, mean: Tensor, sd: Tensor | float, levels: int) -> Tensor:
    """log P of each pixel ``x`` on the grid, under a normal distribution (Ho et al. 2020, eq. 13)."""
    upper, lower = (x - mean + 1 / levels) / sd, (x - mean - 1 / levels) / sd
    flip = upper + lower > 0  # to the lower tail, where log_ndtr keeps its digits
    a, b = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    low, high = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    within = high + torch.log(-torch.expm1((low - high).clamp_max(-1e-12)))
    half = 0.5 / levels
    below, above = torch.special.log_ndtr(upper), torch.special.log_ndtr(-lower)
    return torch.where(x < -1 + half, below, torch.where(x > 1 - half, above, within))


def mixture_parameters(channels: int, components: int) -> int:
    """How many numbers ``logistic_mixture`` takes for a pixel."""
    return components * (1 + 2 * channels + channels * (channels - 1) // 2)


def split_mixture(parameters: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Parameters [n, p, ...] to log shares [n, k, ...], and means, log scales [n, channels, k, ...] and coefficients.

    The coefficients [n, pairs, k, ...], within (-1, 1), say how a channel's mean follows the channels before it.
    """
    pairs = channels * (channels - 1) // 2
    k = parameters.shape[1] // (1 + 2 * channels + pairs)
    rest = parameters[:, k:].unflatten(1, (2 * channels + pairs, k))
    means, log_scales, coefficients = rest.split([channels, channels, pairs], 1)
    shares = F.log_softmax(parameters[:, :k], 1)
    return shares, means, log_scales.clamp_min(SMALLEST_LOG_SCALE), coefficients.tanh()


def logistic_mixture(x: Tensor, parameters: Tensor, levels: int) -> Tensor:
    """log P of whole pixels under a mixture of logistics: ``x`` [n, channels, ...], ``parameters`` [n, p, ...].

    One component is chosen for all channels of a pixel; a channel's mean depends linearly on the channels before it
    (PixelCNN++, eq. 2 and 3). Returns [n, ...].
    """
    shares, means, log_scales, coefficients = split_mixture(parameters, x.shape[1])
    total, pair = shares, 0
    for channel in range(x.shape[1]):
        mean = means[:, channel]
        for before in range(channel):
            mean = mean + coefficients[:, pair] * x[:, before, None]
            pair += 1
        total = total + discretized_logistic(x[:, channel, None], mean, log_scales[:, channel], levels)
    return torch.logsumexp(total, 1)


def draw_mixture(parameters: Tensor, uniform: Tensor, levels: int) -> Tensor:
    """Pixels of that mixture, a fixed function of ``uniform`` [n, 1 + channels] in (0, 1): [n, channels] on the grid.

    ``parameters`` [n, p]. The first number chooses the component, the others are turned into logistic noise.
    """
    channels = uniform.shape[1] - 1
    shares, means, log_scales, coefficients = split_mixture(parameters, channels)
    chosen = (uniform[:, :1] > shares.exp().cumsum(1)[:, :-1]).sum(1)
    rows = torch.arange(len(chosen), device=chosen.device)
    means, log_scales, coefficients = (t[rows, :, chosen] for t in (means, log_scales, coefficients))
    noise = torch.logit(uniform[:, 1:], 1e-6) * log_scales.exp()
    made: list[Tensor] = []
    pair = 0
    for channel in range(channels):
        mean = means[:, channel]
        for before in range(channel):
            mean = mean + coefficients[:, pair] * made[before]
            pair += 1
        value = (mean + noise[:, channel]).clamp(-1, 1)
        made.append(((value + 1) * (levels / 2)).round() / (levels / 2) - 1)
    return torch.stack(made, 1)
