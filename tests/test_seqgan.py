"""The games that write text: probabilities against enumeration, policy gradients against the gradient itself."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from command import ganforge
from ganforge import plan
from ganforge.config import Settings, checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains.text import TextDomain
from ganforge.engine.trainer import Trainer
from ganforge.losses.policy import advantages, policy_gradient
from ganforge.model import load
from ganforge.nn.sequence import END, TextCnn, Writer, choose, going_on, leave_out, log_probs
from ganforge.recipes.gsgan import Gsgan
from ganforge.recipes.gumbel_game import GumbelGame
from ganforge.recipes.lm import Lm
from ganforge.recipes.policy_game import PolicyGame
from ganforge.recipes.seqgan import Seqgan

PIECES, LENGTH = 4, 3
BUDGET = 4000
"""Rounds of 10 samples that 4,000 lines come to (10 times all)."""


def writer(unwritten: tuple[int, ...] = ()) -> Writer:
    """A small writer with strong opinions."""
    torch.manual_seed(3)
    made = Writer(PIECES, 8, unwritten)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2.0)
        made.bias.copy_(torch.tensor([0.0, 0.5, -0.5, 1.0]))
    return made


def all_lines() -> Tensor:
    """Every sequence of up to three pieces, END behind: int64 [n, 3]."""
    found = set()
    for line in itertools.product(range(PIECES), repeat=LENGTH):
        cut = line[: line.index(END)] if END in line else line
        found.add((*cut, *[END] * (LENGTH - len(cut))))
    return torch.tensor(sorted(found))


def probabilities(G: Writer) -> Tensor:
    """p of each of ``all_lines``."""
    lines = all_lines()
    return log_probs(G.written(G(lines)), lines).sum(1).exp()


def shares(drawn: Tensor) -> np.ndarray:
    """How often each of ``all_lines`` was drawn."""
    place = {tuple(line): i for i, line in enumerate(all_lines().tolist())}
    return np.bincount([place[tuple(line)] for line in drawn.tolist()], minlength=len(place))


def test_probabilities_of_all_lines_sum_to_one() -> None:
    assert len(all_lines()) == 1 + 3 + 9 + 27
    assert float(probabilities(writer()).detach().sum()) == pytest.approx(1.0, abs=1e-5)
    masked = probabilities(writer((1,))).detach()
    assert float(masked.nan_to_num().sum()) == pytest.approx(1.0, abs=1e-5)
    assert bool((masked[(all_lines() == 1).any(1)] == 0).all())


@pytest.mark.parametrize("kept", [False, True])
def test_lines_are_drawn_by_their_probabilities(kept: bool) -> None:
    G, n = writer(), 20_000
    noise = torch.rand(n, LENGTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = G.draw(noise, states=[] if kept else None)
        expected = probabilities(G).double().numpy()
    assert chisquare(shares(drawn), n * expected / expected.sum()).pvalue > 1e-3
    with torch.no_grad():
        assert torch.equal(drawn[:500], G.draw(noise[:500], states=None if kept else []))  # either way the same lines


def test_soft_lines_are_drawn_by_the_same_probabilities() -> None:
    G, n = writer(), 20_000
    torch.manual_seed(0)
    with torch.no_grad():
        weights, drawn = G.draw_soft(n, LENGTH, 0.5, straight=True)
        expected = probabilities(G).double().numpy()
    assert chisquare(shares(drawn), n * expected / expected.sum()).pvalue > 1e-3
    assert torch.equal(weights.argmax(-1), drawn)
    torch.testing.assert_close(weights, torch.nn.functional.one_hot(drawn, PIECES).float(), atol=1e-6, rtol=0)


def test_straight_and_soft_weights_have_one_gradient_at_the_first_piece() -> None:
    """What a linear judge of the first piece sends back does not depend on whether it saw soft or hard weights."""
    G, found = writer(), []
    for straight in (True, False):
        torch.manual_seed(1)
        weights, _ = G.draw_soft(16, 1, 0.7, straight)
        G.zero_grad()
        (weights[:, 0] @ torch.arange(4.0)).sum().backward()
        found.append(G.bias.grad.clone())  # type: ignore[union-attr]
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(found[0], found[1])


def test_temperature_sharpens() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(30_000, -1)
    uniform = torch.rand(30_000, generator=torch.Generator().manual_seed(0))
    drawn = choose(logits, uniform, torch.full((30_000,), 0.5))
    expected = (logits[0].double() / 0.5).softmax(0).numpy()
    assert chisquare(np.bincount(drawn.numpy(), minlength=3), 30_000 * expected / expected.sum()).pvalue > 1e-3
    zero_first = choose(torch.tensor([[float("-inf"), 0.0]]), torch.zeros(1))
    assert zero_first.tolist() == [1]  # never a piece of probability 0, not even for the smallest number


def test_a_line_goes_on_from_its_states() -> None:
    G, noise = writer(), torch.rand(64, 6, generator=torch.Generator().manual_seed(2))
    states: list = []
    with torch.no_grad():
        whole = G.draw(noise, states=states)
        h, c = states[1]
        on = whole[:, 1] != END
        rest = G.draw(noise[on, 2:], last=whole[on, 1], state=(h[:, on], c[:, on]))
    assert int(on.sum()) > 10 and torch.equal(rest, whole[on, 2:])


# ---- policy gradients


def exact_gradient(G: Writer, reward: Tensor) -> list[Tensor]:
    """The gradient of sum over lines of p(line) reward(line)."""
    G.zero_grad()
    (probabilities(G) * reward).sum().backward()
    return [p.grad.clone() for p in G.parameters() if p.grad is not None]


def exact_values(p: Tensor, reward: Tensor) -> Tensor:
    """Q of each piece of each line: the mean reward of all lines that begin as it does, [lines, 3]."""
    lines = all_lines()
    found = torch.zeros(len(lines), LENGTH)
    for row, line in enumerate(lines):
        for size in range(1, LENGTH + 1):
            same = (lines[:, :size] == line[:size]).all(1)
            found[row, size - 1] = (p[same] * reward[same]).sum() / p[same].sum()
    return found


def test_policy_gradient_is_the_gradient_of_the_expected_reward() -> None:
    G = writer()
    reward = torch.rand(40, generator=torch.Generator().manual_seed(5))
    expected = exact_gradient(G, reward)
    lines, counts = all_lines(), going_on(all_lines())
    p = probabilities(G).detach()
    G.zero_grad()
    weighted = p[:, None] * exact_values(p, reward)
    (policy_gradient(log_probs(G(lines), lines), weighted, counts) * counts.sum()).backward()
    for ours, theirs in zip([q.grad for q in G.parameters() if q.grad is not None], expected, strict=True):
        torch.testing.assert_close(-ours, theirs, atol=1e-5, rtol=1e-4)


def test_baseline_leaves_the_expectation_alone() -> None:
    """Over all pairs of lines: the mean policy gradient with baseline, at the first place, is that without."""
    G = writer()
    p = probabilities(G).detach()
    reward = torch.rand(40, generator=torch.Generator().manual_seed(5))
    values = exact_values(p, reward)
    lines = all_lines()
    first = log_probs(G(lines), lines)[:, 0]
    counts = going_on(lines)
    total = torch.zeros(())
    for a, b in itertools.product(range(40), repeat=2):
        pair = advantages(values[[a, b]], counts[[a, b]], standardize=False)
        total = total + p[a] * p[b] * (pair[0, 0] * first[a] + pair[1, 0] * first[b])
    plain = 2 * (p * values[:, 0] * first).sum()
    for ours, theirs in zip(
        torch.autograd.grad(total, list(G.parameters()), retain_graph=True),
        torch.autograd.grad(plain, list(G.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0, 5.0], [2.0, 7.0], [6.0, 9.0]])
    counts = torch.tensor([[True, True], [True, False], [True, False]])
    found = advantages(rewards, counts, standardize=False)
    torch.testing.assert_close(found, torch.tensor([[1 - 4.0, 0], [2 - 3.5, 0], [6 - 1.5, 0]]))
    assert float(advantages(rewards, counts)[counts].square().mean()) == pytest.approx(1.0)
    assert bool((advantages(torch.ones(3, 2), counts) == 0).all())


def game(kind: type = Seqgan, **params: object) -> PolicyGame:
    domain = TextDomain(shape=(LENGTH,), vocabulary=("a", "b"))
    torch.manual_seed(0)
    made = checked(kind, {"size": 8, "features": 8, **params}, "params").build(domain)
    return made  # type: ignore[return-value]


def test_rollouts_estimate_the_mean_verdict() -> None:
    """With a verdict that is known, Q by rollouts is that by enumeration, judged at each place or at each second."""
    for every in (1, 2):
        play = game(rollouts=4000, rollout_every=every)
        play.G = writer((1,))
        verdict = torch.rand(4, generator=torch.Generator().manual_seed(9))
        play.verdict = MethodType(lambda self, lines, v=verdict: v[lines].mean(1), play)  # type: ignore[method-assign]
        lines, states = torch.tensor([[2, 3, 3], [3, 2, 0], [2, 0, 0], [0, 0, 0]]), []
        with torch.no_grad():
            G = play.G
            last, state = G.begin(4)
            for place in range(LENGTH):
                _, state = G.step(last, state)  # type: ignore[assignment, arg-type]
                states.append(state)
                last = lines[:, place]
            p = probabilities(G).nan_to_num()
            torch.manual_seed(0)
            found = play.rewards(lines, states)  # type: ignore[arg-type]
        everything = all_lines()
        for row, line in enumerate(lines):
            for place in range(LENGTH):
                size = min(-(-(place + 1) // every) * every, LENGTH)
                same = (everything[:, :size] == line[:size]).all(1)
                mean = (p[same] * verdict[everything[same]].mean(1)).sum() / p[same].sum()
                assert float(found[row, place]) == pytest.approx(float(mean), abs=0.02)


def test_g_learns_what_a_known_judge_likes() -> None:
    """Where D likes only one word, policy gradients make G write it."""
    play = game(rollouts=2, pretrain=0, warm_up=0, batch=64)
    play.verdict = MethodType(lambda self, lines: (lines == 3).float().mean(1), play)  # type: ignore[method-assign]
    noise = torch.rand(500, LENGTH, generator=torch.Generator().manual_seed(0))
    batch = {"data": torch.zeros(64, LENGTH, dtype=torch.int64)}
    optimizer = torch.optim.Adam(play.G.parameters(), lr=0.01)
    with torch.no_grad():
        before = float((play.G.draw(noise) == 3).float().mean())
    for _ in range(60):
        optimizer.zero_grad()
        sum(play.write(batch).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    with torch.no_grad():
        after = float((play.G.draw(noise) == 3).float().mean())
    assert before < 0.45 and after > 0.9


def test_gumbel_game_learns_what_a_linear_judge_likes() -> None:
    play = game(Gsgan, pretrain=0, loss="wasserstein")
    assert isinstance(play, GumbelGame)
    play.logits = MethodType(lambda self, x: x[..., 3].sum(1) if x.is_floating_point() else (x == 3).sum(1), play)
    batch = {"data": torch.zeros(64, LENGTH, dtype=torch.int64)}
    optimizer = torch.optim.Adam(play.G.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        sum(play.write(batch).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    with torch.no_grad():
        drawn = play.G.draw(torch.rand(500, LENGTH, generator=torch.Generator().manual_seed(0)))
    assert float((drawn == 3).float().mean()) > 0.9


def test_moves_follow_the_clock() -> None:
    def players(play: PolicyGame, samples: int) -> list[tuple[str, str]]:
        return [(move.player, move.play.__name__) for move in play.moves(Clock(0, samples))]  # type: ignore[attr-defined]

    play = game(pretrain=100, warm_up=50)
    assert players(play, 99) == [("G", "imitate")]
    assert players(play, 100) == players(play, 149) == [("D", "judge")]
    assert players(play, 150) == [("G", "write"), ("D", "judge")]
    rate = play.players["G"].lr
    assert rate(0) == play.recipe.lr and rate(100) == play.recipe.lr_policy  # type: ignore[operator]
    assert rate(50) == pytest.approx((play.recipe.lr + play.recipe.lr_policy) / 2)  # type: ignore[operator]
    assert game(pretrain=0, warm_up=0).players["G"].lr(0) == play.recipe.lr_policy  # type: ignore[operator]
    assert play.turns == (100, 150) and game(Gsgan, pretrain=100).turns == (100,)
    soft = game(Gsgan, pretrain=100)
    assert players(soft, 99) == [("G", "imitate")] and players(soft, 100) == [("G", "write"), ("D", "judge")]


@pytest.mark.parametrize(
    ("given", "rounds", "seconds", "whole"),
    [
        ({"samples": 2000}, 200, 10 * 1 + 10 * 3 + 180 * 10, 1840 + 10 * (BUDGET - 200)),
        ({"samples": 150}, 15, 10 * 1 + 5 * 3, 40 + 10 * (BUDGET - 20)),
        ({"minutes": 1.5}, 25, 90, 40 + 10 * (BUDGET - 20)),
        ({"minutes": 0.1}, 6, 6, 40 + 10 * (BUDGET - 20)),
    ],
)
def test_the_time_estimate_knows_that_play_takes_longer(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, float], rounds: int, seconds: float, whole: float
) -> None:
    """Rounds of 1 s for the first 100 samples, of 3 s while D learns, and then of 10 s."""
    now = [0.0]

    def play(trainer: Trainer) -> None:
        now[0] += 1.0 if trainer.clock.samples < 100 else 3.0 if trainer.clock.samples < 200 else 10.0
        trainer.clock = Clock(trainer.clock.round + 1, trainer.clock.samples + 10)

    monkeypatch.setattr(plan.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "round", play)
    params = {"size": 8, "features": 4, "batch": 10, "pretrain": 100, "warm_up": 100}
    settings = Settings("seqgan", "sentences", params, {}, {"device": "cpu", **given})
    its = plan.make_plan(settings, lambda text: None)
    found = plan.estimate(its)
    assert found.last_phase == (200, 40.0)
    assert not plan.cautions(its, replace(found, rounds=4000))
    told = plan.cautions(its, replace(found, last_phase=(40_000, 70.0), rounds=4000))
    assert len(told) == 1 and "before its last phase, which begins after 40,000 samples (about 1 min 10 s)" in told[0]
    assert (found.rounds, found.seconds, found.whole) == (rounds, pytest.approx(seconds), pytest.approx(whole))
    assert found.samples_per_second == pytest.approx(10 * rounds / seconds)


def test_d_reads_characters_from_few_numbers_and_further() -> None:
    chars = TextDomain(shape=(64,), vocabulary=tuple("abc"), level="char", lines=10)
    words = TextDomain(shape=(12,), vocabulary=tuple("abc"), level="word", lines=10)
    for kind in (Seqgan, Gsgan):
        for domain, width, reaches in ((chars, 32, (2, 4, 6, 8)), (words, 128, (2, 3, 4, 5))):
            play = checked(kind, kind.defaults_for(domain), "params").build(domain)
            assert play.D.embedding.embedding_dim == width and play.D.reaches == reaches  # type: ignore[union-attr]


def test_much_text_in_characters_has_a_larger_writer() -> None:
    for lines, level, settings in (
        (10_000, "char", (256, 0.0)),
        (1000, "char", (128, 0.3)),
        (10_000, "word", (128, 0.3)),
    ):
        domain = TextDomain(shape=(64,), vocabulary=tuple("abc"), level=level, lines=lines)  # type: ignore[arg-type]
        for kind in (Lm, Seqgan, Gsgan):
            recipe = checked(kind, kind.defaults_for(domain), "params")
            assert (recipe.size, recipe.dropout) == settings


def test_the_temperature_falls_from_where_play_begins() -> None:
    words = TextDomain(shape=(12,), vocabulary=tuple("abc"), level="word", lines=10)
    assert Gsgan.defaults_for(words)["temperature"].begin == 32_000
    assert Gsgan.defaults_given(words, {"pretrain": 0})["temperature"].begin == 0
    assert Gsgan.defaults_given(words, {"pretrain": "x"})["temperature"].begin == 32_000, "an error is told elsewhere"


def test_dropout_leaves_out_the_same_at_all_places() -> None:
    torch.manual_seed(0)
    x = torch.ones(50, 6, 40)
    left = leave_out(x, 0.25)
    assert torch.equal(left, left[:, :1].expand_as(left)) and set(left.unique().tolist()) == {0.0, float(left.max())}
    assert float(left.max()) == pytest.approx(1 / 0.75) and float((left[:, 0] == 0).float().mean()) == pytest.approx(
        0.25, abs=0.04
    )
    assert leave_out(x, 0.0) is x


def test_d_sees_the_same_in_pieces_and_in_weights() -> None:
    torch.manual_seed(0)
    D = TextCnn(PIECES, 8, features=4)
    lines = all_lines()
    torch.testing.assert_close(D(lines), D(torch.nn.functional.one_hot(lines, PIECES).float()))


# ---- from the command line


def test_train_generate_and_log_prob(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert ganforge("train", "lm", "--data", "sentences", "--run", run, "--size", 32, "--batch", 32, "--rounds", 60,
                    "--set", "lr=0.01", "--device", "cpu").code == 0  # fmt: skip
    assert len(list((run / "samples").glob("*.png"))) >= 2
    out = tmp_path / "x.txt"
    assert ganforge("generate", run, "-n", 100, "--out", out).code == 0
    lines = out.read_text().splitlines()
    model = load(run)
    assert len(lines) == 100 and lines == model.generate(100) and lines[:70] == model.generate(70)
    cold = model.generate(100, truncation=0.3)
    assert len(set(" ".join(cold).split())) < len(set(" ".join(lines).split()))
    assert not any("<unk>" in line for line in lines)
    log_prob = model.log_prob(lines)
    pieces = int(model.domain.lengths(lines).sum())  # type: ignore[attr-defined]
    perplexity = float(np.exp(-log_prob.sum() / pieces))
    assert log_prob.shape == (100,) and perplexity < 12  # of 55 pieces
    assert ganforge("generate", run, "-n", 3, "--out", tmp_path / "x.jsonl").code == 0
    assert [json.loads(line)["text"] for line in (tmp_path / "x.jsonl").read_text().splitlines()] == lines[:3]
    assert ganforge("generate", run, "--out", tmp_path / "x.csv").code == 2
    assert "no latent" in ganforge("interpolate", run).error
    assert "bleu4" in ganforge("evaluate", run, "--against", "sentences").out
    with pytest.raises(InputError):
        model.log_prob("one string")
