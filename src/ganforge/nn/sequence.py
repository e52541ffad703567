"""Networks for sequences of numbered pieces (words, characters): an LSTM that writes, a CNN that judges.

Number 0 ends a sequence, and fills what is behind its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

END = 0
State = tuple[Tensor, Tensor]
"""An LSTM's h and c, [1, n, width] each."""


def going_on(tokens: Tensor) -> Tensor:
    """Which places of [n, length] belong to their sequence, the first END among them: bool."""
    return F.pad(tokens[:, :-1] != END, (1, 0), value=True)


def log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of each piece [n, length] by logits [n, length, pieces]; 0 behind the end."""
    found = F.log_softmax(logits.float(), -1).gather(-1, tokens[..., None])[..., 0]
    return torch.where(going_on(tokens), found, 0.0)


def choose(logits: Tensor, uniform: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Pieces [n] drawn by softmax(logits / temperature), a fixed function of ``uniform`` in [0, 1), [n]."""
    warm = temperature[:, None] if isinstance(temperature, Tensor) else temperature
    steps = (logits.float() / warm).softmax(-1).cumsum(-1)
    at = torch.searchsorted(steps, uniform[:, None] * steps[:, -1:], right=True)
    return at[:, 0].clamp_max(logits.shape[-1] - 1)


def leave_out(x: Tensor, share: float) -> Tensor:
    """x [n, length, width] without a ``share`` of the width, the same at all places; the rest is so much larger."""
    return x * F.dropout(torch.ones_like(x[:, :1]), share) if share else x


class Writer(nn.Module):
    """An LSTM with one layer that foretells each piece from all before it (Hochreiter & Schmidhuber 1997).

    A piece's embedding is also its row of the output layer (Press & Wolf 2017). ``unwritten`` are pieces that are
    read, but never written.
    """

    unwritten: Tensor

    def __init__(self, pieces: int, width: int, unwritten: Sequence[int] = ()) -> None:
        super().__init__()
        self.pieces, self.width = pieces, width
        self.embedding = nn.Embedding(pieces + 1, width)  # the last one stands for the start
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.bias = nn.Parameter(torch.zeros(pieces))
        self.register_buffer("unwritten", torch.tensor(unwritten, dtype=torch.int64), persistent=False)

    def read(self, tokens: Tensor) -> Tensor:
        """The inputs [n, length, width] of pieces [n, length], or of weights of all pieces [n, length, pieces]."""
        if tokens.is_floating_point():
            return tokens @ self.embedding.weight[:-1] * self.width**0.5
        return self.embedding(tokens) * self.width**0.5

    def judge(self, h: Tensor) -> Tensor:
        """Logits [.., pieces] of what comes next, from what the LSTM makes of all before [.., width]."""
        return F.linear(h, self.embedding.weight[:-1], self.bias)

    def forward(self, tokens: Tensor, dropout: float = 0.0, at: Tensor | None = None) -> Tensor:
        """Logits [n, length, pieces] of each piece of ``tokens`` [n, length], from those before it.

        Only [places, pieces] where ``at`` (bool [n, length]) is set, if given. ``dropout`` leaves out the same inputs
        and outputs at all places of a sequence (Gal & Ghahramani 2016).
        """
        before = F.pad(tokens[:, :-1], (1, 0), value=self.pieces)
        h, _ = self.lstm(leave_out(self.read(before), dropout))
        h = leave_out(h, dropout)
        return self.judge(h if at is None else h[at])

    def written(self, logits: Tensor) -> Tensor:
        """Logits [.., pieces] without the pieces that are never written."""
        return logits.index_fill(-1, self.unwritten, float("-inf"))

    def begin(self, n: int) -> tuple[Tensor, None]:
        """The piece before the first [n], and no state."""
        return torch.full((n,), self.pieces, dtype=torch.int64, device=self.bias.device), None

    def step(self, last: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Logits [n, pieces] of the next piece that is written after ``last``, [n] or weights [n, pieces]."""
        h, after = self.lstm(self.read(last[:, None]), state)
        return self.written(self.judge(h[:, 0])), after

    def draw(
        self,
        noise: Tensor,
        temperature: Tensor | None = None,
        last: Tensor | None = None,
        state: State | None = None,
        states: list[State] | None = None,
    ) -> Tensor:
        """Sequences [n, length] written piece by piece, a fixed function of ``noise`` (uniform, [n, length]).

        They go on after ``last`` [n] and ``state``, if given. ``states`` gets the state after each piece was foretold.
        """
        n, length = noise.shape
        out = torch.full((n, length), END, dtype=torch.int64, device=noise.device)
        rows = torch.arange(n, device=noise.device)
        if last is None:
            last, state = self.begin(n)
        warm = torch.ones(n, device=noise.device) if temperature is None else temperature
        ended = torch.zeros(n, dtype=torch.bool, device=noise.device)
        for place in range(length):
            logits, state = self.step(last, state)
            last = torch.where(ended, END, choose(logits, noise[rows, place], warm))
            out[rows, place] = last
            ended = ended | (last == END)
            if states is not None:
                states.append(state)
            elif noise.device.type == "cpu":  # elsewhere it would cost a wait to find out who goes on
                on = (~ended).nonzero()[:, 0]
                if not len(on):
                    break
                rows, last, warm, ended = rows[on], last[on], warm[on], ended[on]
                state = (state[0][:, on], state[1][:, on])
        return out

    def draw_soft(self, n: int, length: int, temperature: float, straight: bool) -> tuple[Tensor, Tensor]:
        """Sequences that gradients pass through: weights of all pieces [n, length, pieces], and the pieces [n, length].

        Pieces are argmax(logits + Gumbel noise), which draws by softmax(logits); weights are softmax((logits + noise) /
        temperature) (Jang et al. 2017, eq. 2). ``straight``: the weights are one-hot, with the soft ones' gradient.
        """
        given, state = self.begin(n)
        ended = torch.zeros(n, 1, dtype=torch.bool, device=given.device)
        weights, tokens = [], []
        for _ in range(length):
            logits, state = self.step(given, state)
            noisy = logits.float() - torch.empty_like(logits, dtype=torch.float32).exponential_().log()
            token = torch.where(ended[:, 0], END, noisy.argmax(-1))
            soft, hard = (noisy / temperature).softmax(-1), F.one_hot(token, self.pieces).to(torch.float32)
            given = torch.where(ended, hard, hard + soft - soft.detach() if straight else soft)
            ended = ended | (token == END)[:, None]
            weights.append(given)
            tokens.append(token)
        return torch.stack(weights, 1), torch.stack(tokens, 1)


class Highway(nn.Module):
    """t H(x) + (1 - t) x, t = T(x) (Srivastava et al. 2015), at first mostly x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.both = nn.Linear(width, 2 * width)
        nn.init.constant_(self.both.bias[width:], -2.0)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width] -> [n, width]."""
        change, gate = self.both(x).chunk(2, -1)
        gate = gate.sigmoid()
        return gate * F.relu(change) + (1 - gate) * x


class TextCnn(nn.Module):
    """Convolutions of several reaches over embedded pieces, the maximum of each over all places, a highway layer, and a
    logit (SeqGAN, sec. 3.4 and app. B; Kim 2014).
    """

    def __init__(self, pieces: int, width: int, reaches: Sequence[int] = (2, 3, 4, 5), features: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(pieces, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, features, k) for k in reaches)
        self.reaches = tuple(reaches)
        self.highway = Highway(features * len(reaches))
        self.out = nn.Linear(features * len(reaches), 1)

    def forward(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        """Logits [n] of pieces [n, length], or of weights of pieces [n, length, pieces]."""
        h = x @ self.embedding.weight if x.is_floating_point() else self.embedding(x)
        h = h.transpose(1, 2)
        found = [
            F.relu(convolve(F.pad(h, (0, k - 1)))).amax(2)
            for convolve, k in zip(self.convolutions, self.reaches, strict=True)
        ]
        return self.out(F.dropout(self.highway(torch.cat(found, 1)), dropout))[:, 0]
