"""Images from words: the losses, the networks, and what each move of the game teaches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

import play
from ganforge.core.game import Clock
from ganforge.domains import open_data
from ganforge.losses.adversarial import relativistic
from ganforge.losses.matching import excess, matching_aware, mismatched, redescription, word_costs
from ganforge.nn.textimage import EdgeConv2d, TextEncoder, TextGenerator


def test_losses_are_the_papers() -> None:
    right, wrong, fake = torch.randn(3, 5, dtype=torch.float64)
    expected = sum(math.log(1 + math.exp(b - a)) for a, b in zip(right, wrong, strict=True)) / 10
    expected += sum(math.log(1 + math.exp(b - a)) for a, b in zip(right, fake, strict=True)) / 10
    assert abs(float(matching_aware(relativistic, right, wrong, fake)) - expected) < 1e-9
    caption = torch.tensor([[3, 2, 0, 0], [4, 4, 4, 4]])
    logits = torch.randn(2, 4, 6)
    p = logits.softmax(2)
    nll = [-math.log(p[0, t, w]) for t, w in enumerate((3, 2, 0))] + [-math.log(p[1, t, 4]) for t in range(4)]
    costs = word_costs(logits, caption)
    assert torch.allclose(costs[caption.ne(0) | torch.tensor([0, 0, 1, 0]).bool()], torch.tensor(nll), atol=1e-5)
    assert float(costs[0, 3]) == 0 and abs(float(redescription(costs, caption)) - sum(nll) / 7) < 1e-5
    assert torch.equal(excess(torch.tensor([0.2, 0.7]), torch.tensor([0.5, 0.5])) > 0, torch.tensor([False, True]))
    rows, differs = mismatched(torch.tensor([[1, 2], [1, 2], [3, 0]]))
    assert rows.tolist() == [2, 0, 1] and differs.tolist() == [True, False, True]


def test_equal_texts_teach_nothing_about_matching() -> None:
    """Of a batch whose captions are all the same, D learns from fakes alone, with half the weight."""
    domain, game = text_game()
    source = open_data("scenes", kinds=("captions",))[1]
    batch = domain.encode(source.take(torch.arange(4)))
    batch["caption"] = batch["caption"][:1].expand(4, -1)
    fake = torch.rand(4, *domain.shape) * 2 - 1
    game.made[0] = fake
    game.judge(batch)["loss"].backward()
    learned = [p.grad.clone() for p in game.D.parameters() if p.grad is not None]
    game.zero_grad(set_to_none=True)
    _, sentence, _ = game.D.text(batch["caption"])
    right, made = game.D.logit(game.D.features(torch.cat([batch["data"], fake])), sentence.repeat(2, 1)).chunk(2)
    (relativistic.discriminator(right, made) / 2).backward()
    expected = [p.grad for p in game.D.parameters() if p.grad is not None]
    assert len(learned) == len(expected)
    for a, b in zip(learned, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-4)


def test_what_is_behind_the_end_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(9, 6, 16)
    caption = torch.tensor([[3, 4, 0, 0, 0, 0]])
    words, sentence, there = encoder(caption)
    encoder.embedding.weight.data[0] += 5
    again = encoder(caption)
    assert torch.allclose(sentence, again[1]) and torch.allclose(words[:, :2], again[0][:, :2])
    assert there[0, 0].tolist() == [True, True, False, False, False, False]
    changed = encoder(torch.tensor([[4, 3, 0, 0, 0, 0]]))[1]
    assert not torch.allclose(again[1], changed)  # the order of words matters


def test_the_reader_knows_only_the_words_before() -> None:
    _, game = text_game()
    reader, x = game.reader, torch.rand(1, 3, 32, 32) * 2 - 1
    caption = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10]])
    other = caption.clone()
    other[0, 4:] = 11
    a, b = reader(x, caption), reader(x, other)
    assert torch.allclose(a[:, :5], b[:, :5]) and not torch.allclose(a[:, 5:], b[:, 5:])
    assert not torch.allclose(a, reader(-x, caption))


def test_an_even_grey_is_nothing_to_the_first_convolution() -> None:
    conv = EdgeConv2d(3, 5, 4, 2, 1)
    x = torch.randn(2, 3, 16, 16)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # the rim sees the padding
    assert torch.allclose(conv(x)[inside], conv(x - 7)[inside], atol=1e-4)
    colored = x.clone()
    colored[:, 0] += 1
    assert not torch.allclose(conv(x)[inside], conv(colored)[inside], atol=1e-2)


def test_the_reader_learns_from_real_images_alone() -> None:
    domain, game = text_game()
    batch = domain.encode(open_data("scenes", kinds=("captions",))[1].take(torch.arange(8)))
    moves = {move.player: move for move in game.moves(Clock()) if move.order == 1}
    torch.stack(list(moves["reader"].play(batch).values())).sum().backward()
    learned = {name.split(".")[0] for name, p in game.named_parameters() if p.grad is not None}
    assert learned == {"reader"}


def test_what_no_real_image_tells_is_not_asked_of_fakes() -> None:
    """A fake that is as readable as the real image costs nothing, word by word; through noise, none is quite as it."""
    domain, game = text_game(noise=0.0)
    batch = domain.encode(open_data("scenes", kinds=("captions",))[1].take(torch.arange(8)))
    game.fake = lambda _: (batch["data"], torch.zeros(8, 4), torch.zeros(8, 4))
    game.read(batch)
    assert float(game.generate(batch)["redescription"].detach()) == 0
    game.read(batch)
    game.fake = lambda _: (batch["data"].roll(1, 0), torch.zeros(8, 4), torch.zeros(8, 4))
    costs = [
        word_costs(game.reader(x, batch["caption"]), batch["caption"])
        for x in (batch["data"].roll(1, 0), batch["data"])
    ]
    expected = game.recipe.redescription * redescription((costs[0] - costs[1]).clamp_min(0), batch["caption"])
    paid = game.generate(batch)["redescription"]
    assert float(expected.detach()) > 0 and torch.allclose(paid, expected, rtol=1e-4)
    assert torch.allclose(game.generate(batch)["redescription"], expected, rtol=1e-4)  # the reader need not have moved
    _, noisy = text_game(noise=0.5)
    spread = (noisy.noisy(batch["data"]) - batch["data"]).std()
    assert abs(float(spread) - 0.5) < 0.01


def test_penalties_are_half_of_gamma_times_the_slope() -> None:
    """Against central differences of D's logit along its gradient."""
    domain, game = text_game()
    batch = domain.encode(open_data("scenes", kinds=("captions",))[1].take(torch.arange(4)))
    batch["data"] = torch.rand(batch["data"].shape) * 2 - 1  # a black background lies on the first layer's kink
    paid = game.penalize(batch)["r1"].detach()
    score, x = game.scorer(batch["caption"]), batch["data"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(score(x).sum(), x)
    way = slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        steep = (score(x + 0.01 * way) - score(x - 0.01 * way)) / 0.02
    assert math.isclose(float(paid), float(game.recipe.r1 * steep.square().mean() / 2), rel_tol=0.01)


def test_images_of_any_size() -> None:
    for shape in ((1, 28, 20), (3, 40, 64)):
        G = TextGenerator(shape, 9, 6, 8, 16, 8)
        made, mean, log_sd = G(torch.randn(2, 24), torch.randint(1, 9, (2, 6)))
        assert made.shape == (2, *shape) and mean.shape == log_sd.shape == (2, 16)


def text_game(**params: Any) -> tuple[Any, Any]:
    recipe, data = play.build("text2image")
    recipe = replace(recipe, **params)
    domain, _ = open_data(data, kinds=recipe.kinds)
    return domain, recipe.build(domain)
