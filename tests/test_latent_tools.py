"""Projection and edits: where the answer is known in closed form, and on a run as its user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from command import ganforge as command
from ganforge import latent
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.domains.image import ImageDomain
from ganforge.domains.image_pictures import CAPTION
from ganforge.domains.points import PointDomain
from ganforge.latent.inversion import far, misfit, pyramid
from ganforge.latent.walk import main_axes
from ganforge.model import Model

SHAPE = (1, 8, 8)
SINGULAR = torch.tensor([0.3, 0.15, 0.08, 0.04])
U = torch.linalg.qr(torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))[0]
V = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0]


class Linear(Game):
    """x = A z + b, A = U S V^T: images that stay within [-1, 1]. With classes, b is that of the class."""

    def __init__(self, classes: int = 0, signs: int = 0) -> None:
        super().__init__()
        self.conditions = ("label",) if classes else ()
        self.signs = signs
        self.G = nn.Linear(4, 64)
        self.G.weight.data = U @ SINGULAR.diag() @ V.T
        self.G.bias.data.zero_()
        shifts = torch.randn(max(classes, 1), 64, generator=torch.Generator().manual_seed(2)) * 0.2
        self.register_buffer("shifts", shifts if classes else torch.zeros(1, 64))

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        z = torch.randn(n, 4, generator=generator)
        z[:, : self.signs] = z[:, : self.signs].sign()
        return {"z": z}

    def sample(self, inputs: Batch) -> Batch:
        shift = self.shifts[inputs["label"]] if self.conditions else self.shifts
        return {**inputs, "data": (self.G(inputs["z"]) + shift).unflatten(1, SHAPE)}


class Encoding(Linear):
    """The same, with its inverse."""

    def encode(self, batch: Batch) -> torch.Tensor:
        return (batch["data"].flatten(1) @ U / SINGULAR) @ V.T


class Mapped(Linear):
    """w = 2 |z| + 1, and a picture that is linear in w."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.PReLU(init=-1.0)

    def sample(self, inputs: Batch) -> Batch:
        return super().sample({**inputs, "z": self.first(inputs["z"])})


def model(game: Game | None = None, classes: tuple[str, ...] = ()) -> Model:
    domain = ImageDomain(shape=SHAPE, classes=classes, counts=(10,) * len(classes))
    return Model(game or Linear(), domain, {"recipe": "linear", "samples": 0})


def same_up_to_sign(found: tuple[latent.Direction, ...], wanted: torch.Tensor, atol: float) -> bool:
    vectors = torch.stack([d.vector for d in found])
    return torch.allclose((vectors * wanted).sum(1).abs(), torch.ones(len(wanted)), atol=atol)


def test_a_generated_image_is_found_again_and_its_latent_too() -> None:
    wanted = torch.cat([inputs["z"] for inputs in model().inputs(10, seed=9)])
    found = latent.project(model(), model().generate(10, seed=9), starts=200)
    assert found.how == "search" and found.space == "z" and found.images.shape == (10, 8, 8, 1)
    assert min(found.psnr) > 40 and np.array_equal(found.targets, model().generate(10, seed=9))
    # but for the rounding of levels, whose standard deviation 2 / 255 / 12 ** 0.5 the smallest singular value stretches
    assert torch.allclose(found.latents, wanted, atol=4 * 2 / 255 / 12**0.5 / 0.04)
    again = latent.project(model(), model().generate(10, seed=9), starts=200)
    assert torch.equal(again.latents, found.latents) and again.psnr == found.psnr
    unmoved = latent.project(model(), model().generate(10, seed=9), starts=200, steps=0)
    assert 10 < np.mean(unmoved.psnr) < np.mean(found.psnr)
    other = latent.project(model(), model().generate(10, seed=9), starts=200, seed=1)
    assert not torch.equal(other.latents, found.latents)


def test_pictures_are_compared_at_every_size_down_to_four_pixels() -> None:
    """So that a search feels where a picture is bright before it sees its detail."""
    made, target = torch.randn(2, 3, 16, 32), torch.randn(2, 3, 16, 32)
    squares, gaps = torch.zeros(2), torch.zeros(2)
    for half in (1, 2, 4):  # 16 x 32, 8 x 16 and 4 x 8: means of blocks
        a, b = (x.unflatten(3, (-1, half)).unflatten(2, (-1, half)).mean((3, 5)) for x in (made, target))
        squares += (a - b).square().mean((1, 2, 3))
        gaps += (a - b).abs().mean((1, 2, 3))
    torch.testing.assert_close(misfit(made, target), squares + 0.1 * gaps)
    torch.testing.assert_close(far(made, target).diagonal(), squares, atol=1e-4, rtol=1e-4)
    odd = pyramid(torch.ones(1, 1, 9, 7))
    assert [len(level[0]) for level in odd] == [63, 20] and all(bool((level == 1).all()) for level in odd)


def test_starts_are_made_once_for_all_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were made anew for each 8 pictures: of 300 pictures, 38 times."""
    made, sample = [], Linear.sample

    def counting(self: Linear, inputs: Batch) -> Batch:
        made.append(len(inputs["z"]))
        return sample(self, inputs)

    targets = model().generate(30, seed=9)
    monkeypatch.setattr(Linear, "sample", counting)
    found = latent.project(model(), targets, steps=0, starts=512)
    assert sum(made) < 2 * 512
    alone = [latent.project(model(), part, steps=0, starts=512) for part in (targets[:8], targets[8:16])]
    assert torch.equal(found.latents[:16], torch.cat([each.latents for each in alone]))


def test_latents_of_another_model_are_told_of(tmp_path: Path) -> None:
    """A latent of the same size is no latent of the same model: what was edited were other pictures, silently."""
    found = latent.project(model(), model().generate(2, seed=9), steps=0, starts=64)
    found.save(tmp_path / "latents.npz")
    told: list[str] = []
    inputs, _, _ = latent.read_latents(model(), tmp_path / "latents.npz", told.append)
    assert torch.equal(inputs["z"], found.inputs["z"]) and not told
    other = Linear()
    other.G.weight.data = other.G.weight.data * 1.01
    latent.read_latents(model(other), tmp_path / "latents.npz", told.append)
    assert len(told) == 1 and "was found for another model, or before this one was trained further" in told[0]


def test_latents_keep_to_their_prior() -> None:
    white = np.full((1, 8, 8, 1), 255, np.uint8)  # far from all that the generator makes
    norms = torch.randn(100_000, 4, generator=torch.Generator().manual_seed(0)).norm(dim=1)
    free = torch.linalg.lstsq(model().game.G.weight, torch.ones(64))[0]  # type: ignore[union-attr, arg-type]
    found = latent.project(model(), white, starts=200)
    assert free.norm() > 6 and found.latents.norm() < norms.mean() + 3.3 * norms.std()
    signed = latent.project(model(Linear(signs=2)), model().generate(3), starts=200)
    assert set(signed.latents[:, :2].flatten().tolist()) <= {-1.0, 1.0}


def test_classes_are_tried_and_encoders_used() -> None:
    names = ("ant", "bee", "cat")
    kinds = model(Linear(classes=3), names)
    targets = np.concatenate([kinds.generate(2, seed=4, label=name) for name in names])
    found = latent.project(kinds, targets, starts=90)
    assert found.labels == ("ant", "ant", "bee", "bee", "cat", "cat") and min(found.psnr) > 40
    told = latent.project(kinds, targets[:2], starts=90, label="cat")
    assert told.labels == ("cat", "cat") and max(told.psnr) < 25
    encoded = latent.project(model(Encoding()), targets[:1] * 0 + 120)
    assert encoded.how == "encoder"
    exact = latent.project(model(Encoding()), model().generate(5, seed=3))
    assert min(exact.psnr) > 50
    refined = latent.project(model(Encoding()), model().generate(5, seed=3), steps=20)
    assert refined.how == "encoder and search" and min(refined.psnr) > 50


def test_directions_of_a_linear_generator_are_its_singular_vectors() -> None:
    shares = (SINGULAR.square() / SINGULAR.square().sum()).tolist()
    closed = latent.directions(model(), 4, "closed-form")
    assert same_up_to_sign(closed, V.T, 1e-4) and [d.share for d in closed] == pytest.approx(shares, abs=1e-4)
    told = latent.directions(model(Linear(classes=2), ("a", "b")), 4, "closed-form")
    assert same_up_to_sign(told, V.T, 1e-4)
    for found in (latent.directions(model(), 3, "features"), latent.directions(model(), 3, "principal")):
        assert same_up_to_sign(found, V.T[:3], 0.02) and found[0].share == pytest.approx(shares[0], abs=0.05)
    # GANSpace in the layer's own space: the left singular vectors, a standard deviation of s each
    own = latent.directions(model(), 3, "features", layer="G")
    assert same_up_to_sign(own, U.T[:3], 0.02) and own[0].scale == pytest.approx(0.3, rel=0.1)


def test_what_all_samples_share_is_no_direction() -> None:
    """Principal components are of what varies (GANSpace, section 3.1): a bias, however large, is none."""
    biased = Linear()
    biased.G.bias.data.fill_(5.0)
    for layer in (None, "G"):
        plain, found = (latent.directions(model(game), 3, "features", layer=layer) for game in (Linear(), biased))
        assert [d.share for d in found] == pytest.approx([d.share for d in plain], abs=1e-4)
        assert same_up_to_sign(found, torch.stack([d.vector for d in plain]), 1e-4)


def test_layers_are_spaces_too() -> None:
    mapped = model(Mapped())
    assert latent.vector_layers(mapped) == ["first", "G"]
    with pytest.raises(InputError, match=r"the first layer \(first\) of linear is not linear in z"):
        latent.directions(mapped, 1, "closed-form")
    assert same_up_to_sign(latent.directions(mapped, 4, "principal", layer="first"), V.T, 0.05)
    inputs = latent.inputs_of(mapped, 3, 0, None)
    way = latent.Direction("x", torch.tensor([1.0, 0, 0, 0]), 1.0, 2.0)
    made = latent.edit(mapped, way, (-1, 0, 1), inputs, "first")[1].unflatten(0, (3, 3))
    step = 2 * mapped.game.G.weight[:, 0].reshape(SHAPE)  # type: ignore[union-attr, index]
    assert torch.allclose(made[:, 2] - made[:, 1], step.expand(3, *SHAPE), atol=1e-6)
    assert torch.allclose(made[:, 1] - made[:, 0], step.expand(3, *SHAPE), atol=1e-6)
    found = latent.project(mapped, mapped.generate(2, seed=5), layer="first", starts=100)
    assert found.space == "first" and min(found.psnr) > 40
    with pytest.raises(InputError, match=r"no layer 'frist'.*did you mean 'first'"):
        latent.project(mapped, mapped.generate(1), layer="frist")


class Styled(Mapped):
    """Two layers take w, and one of them a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.part = nn.Linear(4, 64), nn.Linear(2, 64)
        self.other.weight.data = torch.randn(64, 4, generator=torch.Generator().manual_seed(4)) * 0.1

    def sample(self, inputs: Batch) -> Batch:
        w = self.first(inputs["z"])
        return {**inputs, "data": (self.G(w) + self.other(w) + self.part(w[:, :2])).unflatten(1, SHAPE)}


def test_closed_form_directions_of_a_layer_are_of_all_weights_that_take_it() -> None:
    game = Styled()
    whole = np.concatenate([game.G.weight.detach().numpy(), game.other.weight.detach().numpy()])
    _, values, rows = np.linalg.svd(whole)
    found = latent.directions(model(game), 4, "closed-form", layer="first")
    assert same_up_to_sign(found, torch.from_numpy(rows).float(), 1e-4)
    assert [d.share for d in found] == pytest.approx((values**2 / (values**2).sum()).tolist(), rel=1e-3)
    with pytest.raises(InputError, match="no linear layer of linear takes the output of G"):
        latent.directions(model(Mapped()), 1, "closed-form", layer="G")


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_main_axes_are_numpys_right_singular_vectors(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(size=shape)
    values, vectors = main_axes(torch.from_numpy(rows))
    _, wanted, axes = np.linalg.svd(rows, full_matrices=False)
    assert values.numpy() == pytest.approx(wanted**2 / shape[0])
    assert np.abs((vectors.numpy() * axes).sum(1)) == pytest.approx(np.ones(8))


class Coded(Linear):
    """A further input, whose second number counts most."""

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        return {**super().draw(n, generator), "code": torch.rand(n, 2, generator=generator) * 2 - 1}

    def sample(self, inputs: Batch) -> Batch:
        data = super().sample(inputs)["data"].flatten(1) + inputs["code"] @ torch.stack([U[:, 0], 3 * U[:, 1]]) * 0.1
        return {**inputs, "data": data.unflatten(1, SHAPE)}


def test_codes_are_a_space_too() -> None:
    way = latent.directions(model(Coded()), 2, "coordinate", layer="code", points=1024)
    assert [d.name for d in way] == ["code[1]", "code[0]"] and way[0].share == pytest.approx(0.9, abs=0.03)
    assert way[0].scale == pytest.approx(3**-0.5, rel=0.05)
    inputs = latent.inputs_of(model(Coded()), 3, 0, None)
    made = latent.edit(model(Coded()), way[0], (0.0, 1.0), inputs, "code")[1].unflatten(0, (3, 2)).flatten(2)
    assert torch.allclose(made[:, 1] - made[:, 0], (0.3 * way[0].scale * U[:, 1]).expand(3, 64), atol=1e-6)


class Bright(Game):
    """Dark and bright pictures: z[0] decides."""

    def __init__(self) -> None:
        super().__init__()
        self.G = nn.Linear(4, 64)
        self.G.weight.data = torch.zeros(64, 4)
        self.G.weight.data[:, 0] = 0.3
        self.G.bias.data.zero_()

    draw = Linear.draw
    signs = 0

    def sample(self, inputs: Batch) -> Batch:
        return {**inputs, "data": self.G(inputs["z"]).unflatten(1, SHAPE)}


def test_the_way_between_classes_is_the_difference_of_their_means(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    images = np.concatenate([noise.integers(0, 100, (150, 8, 8)), noise.integers(155, 256, (150, 8, 8))])
    labels = np.repeat(["dark", "bright"], 150)
    np.savez(tmp_path / "d.npz", images=images.astype(np.uint8), labels=labels)
    from ganforge.samples import open_samples

    data = open_samples(str(tmp_path / "d.npz"), "8x8", 1)
    way, judge = latent.between_classes(model(Bright()), data, "dark", "bright")
    assert judge.accuracy > 0.95 and float(way.vector[0]) > 0.98 and way.share > 0.95
    dark = latent.judged_as(model(Bright()), judge, "dark", 20)
    made = latent.edit(model(Bright()), way, (0.0, 4.0), dark)[1].unflatten(0, (20, 2))
    bright = judge.classes.index("bright")
    assert (judge.predict(made[:, 0]) != bright).all() and (judge.predict(made[:, 1]) == bright).all()
    with pytest.raises(InputError, match="unknown label 'dim'"):
        latent.between_classes(model(Bright()), data, "dim", "bright")
    with pytest.raises(InputError, match="this model is told its class"):
        latent.between_classes(model(Linear(classes=2), ("dark", "bright")), data, "dark", "bright")


def test_a_run_is_projected_and_edited(cgan_run: Path, tmp_path: Path) -> None:
    assert command("generate", cgan_run, "-n", "2", "--label", "3", "--out", tmp_path / "in").code == 0
    (tmp_path / "in" / "grid.png").unlink()
    Image.new("RGB", (30, 20), "navy").save(tmp_path / "in" / "wide.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"not a picture")
    ask = ("project", cgan_run, tmp_path / "in", "--steps", "12", "--starts", "40", "--device", "cpu", "--out")
    said = command(*ask, tmp_path / "found", "--json")
    assert said.code == 0, said.err
    assert "wide.png: 30 x 20 resized to 8 x 8" in said.err and "skipped broken.png" in said.err
    told = json.loads(said.out)
    assert [row["name"] for row in told["pictures"]] == ["00000.png", "00001.png", "wide.png"]
    assert all(row["label"] in "0123456789" and row["psnr"] > 0 for row in told["pictures"])
    for name in ("pairs.png", "reconstructions/00001.png", "reconstructions/wide.png"):
        assert (tmp_path / "found" / name).read_bytes()[:4] == b"\x89PNG"
    with np.load(tmp_path / "found" / "latents.npz") as file:
        assert file["input_z"].shape == file["latents"].shape and file["names"].tolist()[2] == "wide.png"
    assert command(*ask, tmp_path / "again").code == 0
    one, two = (np.load(tmp_path / k / "latents.npz")["latents"] for k in ("found", "again"))
    assert np.array_equal(one, two)

    moved = tmp_path / "moved.png"
    kept = ("--latents", tmp_path / "found" / "latents.npz")
    said = command(
        "edit", cgan_run, "--direction", 2, "--strength", "-1:1", "--steps", 3, "--out", moved, *kept, "--json"
    )
    assert said.code == 0 and json.loads(said.out)["strengths"] == [-1, 0, 1], said.err
    both = [command("edit", cgan_run, "--direction", 2, "--steps", 2, *some).out.split()[-1] for some in ((), kept)]
    assert both[0].endswith("edit-principal2-seed0.png") and both[1].endswith("edit-principal2-seed0-of-found.png")
    shape = np.asarray(Image.open(moved)).shape
    assert shape[0] == shape[1] + CAPTION  # 3 pictures, 3 strengths, whose names are above them
    middle = np.asarray(Image.open(moved))[CAPTION + 3 : CAPTION + 66 : 8, 70:132:8, 0]
    assert np.array_equal(middle, np.asarray(Image.open(tmp_path / "found" / "reconstructions" / "00000.png")))
    for kind in ("closed-form", "features", "coordinate"):
        assert (
            command("edit", cgan_run, "--direction", 1, "--kind", kind, "-n", 2, "--out", tmp_path / "e.gif").code == 0
        )


def test_wrong_input_is_one_line(cgan_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", input_z=np.zeros((1, 3), np.float32), latents=np.zeros((1, 3)), space="z")
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04 cut")
    out = ("--out", tmp_path / "o")
    for arguments, line in (
        (("project", cgan_run, tmp_path / "empty", *out), "no image that can be read"),
        (("project", cgan_run, tmp_path / "absent", *out), "no image and no folder"),
        (("project", cgan_run, tmp_path / "junk.npz", *out), "no image that can be read"),
        (("project", cgan_run, tmp_path, "--out", tmp_path / "o.png"), "go into a folder"),
        (("edit", cgan_run, "--direction", "0"), "a number from 1"),
        (("edit", cgan_run, "--direction", "999"), "directions, not 999"),
        (("edit", cgan_run, "--direction", "1", "--strength", "3:-3"), "below the second"),
        (("edit", cgan_run, "--direction", "1", "--strength", "nan:1"), "below the second"),
        (("edit", cgan_run, "--direction", "1", "--strength", "3"), "two numbers"),
        (("edit", cgan_run, "--direction", "1", "--kind", "feature"), "did you mean 'features'"),
        (("edit", cgan_run, "--direction", "3:8"), "--against"),
        (("edit", cgan_run, "--direction", "3:8", "--against", "digits"), "told its class"),
        (("edit", cgan_run, "--direction", "1", "--layer", "G.frist"), "no layer 'G.frist'"),
        (("edit", cgan_run, "--direction", "1", "--latents", tmp_path / "other.npz"), "of another model"),
        (("edit", cgan_run, "--direction", "1", "--latents", tmp_path / "junk.npz"), "no latents as"),
        (("edit", cgan_run, "--direction", "1", "--latents", tmp_path / "absent.npz"), "no file at"),
        (("edit", cgan_run, "--direction", "1", "--out", tmp_path / "a.txt"), "give a .gif, an .mp4 or a .png"),
    ):
        wrong = command(*arguments)
        assert wrong.code == 2 and line in wrong.error, (arguments, wrong.err)
    assert not (tmp_path / "o").exists()


def test_models_that_do_not_suit_say_so() -> None:
    points = Model(Linear(), PointDomain(shape=(64,), mean=(0.0,) * 64), {"recipe": "linear", "samples": 0})
    with pytest.raises(InputError, match="only pictures can be projected"):
        latent.project(points, np.zeros((1, 8, 8, 1), np.uint8))
    for wrong in (np.zeros((1, 9, 8, 1), np.uint8), np.zeros((1, 8, 8, 1)), np.zeros((0, 8, 8, 1), np.uint8)):
        with pytest.raises(InputError, match="do not suit this model"):
            latent.project(model(), wrong)
    with pytest.raises(InputError, match="at least 1 start"):
        latent.project(model(), np.zeros((1, 8, 8, 1), np.uint8), starts=0)

    class Blind(Linear):
        """Takes no z."""

        def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
            return {"noise": torch.randn(n, 4, generator=generator)}

    with pytest.raises(InputError, match="no latent vector z"):
        latent.directions(model(Blind()), 1, "closed-form")
    with pytest.raises(InputError, match="no latent vector z"):
        latent.project(model(Blind()), np.zeros((1, 8, 8, 1), np.uint8))
