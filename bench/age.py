"""Changing a number of images, measured: trains what is not trained yet, and exits 1 on a miss.

    python bench/age.py disks --out DIR       disks of another radius: the true radius is known by area
    python bench/age.py faces --out DIR       faces of another age, read by a network that is independent of the model

Faces: 1,000 of them are kept from the model, the reader and the embedding alike. The reader is a network that learned
ages from the other real faces. Who a face is, is seen by two embeddings, whose own power is told: one that learned
without labels to find a face again in another crop and light, and SqueezeNet (ImageNet; GANFORGE_SQUEEZENET). Two
baselines: the face as it is, and another real face of the age asked for. DIR keeps runs, tables and pictures; a run
that is there is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
WEIGHTS = os.environ.get("GANFORGE_SQUEEZENET", str(DATA / ".." / "weights" / "squeezenet1_0.safetensors"))
HELD, JUDGED = 1000, 300
ASKED = tuple(range(10, 90, 10))


def model(given: argparse.Namespace, path: str, run: Path, data: dict[str, Any], samples: int) -> Any:
    """The trained model of a run folder, trained first if it is not there."""
    import ganforge

    if not (run / "model").is_dir():
        settings = dict(part.split("=", 1) for part in given.set)
        ganforge.train(
            "age", path, run=run, seed=given.seed, samples=given.samples or samples, device="cpu", data_options=data,
            params={name: float(value) for name, value in settings.items()},
        )  # fmt: skip
    return ganforge.load(run, "cpu")


def table(title: str, rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Print and keep a Markdown table."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[row.get(key, "") for key in keys] for row in rows]
    lines = [f"### {title}", "", "| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    lines += ["| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in row) + " |" for row in cells]
    print("\n".join(lines) + "\n", flush=True)
    (out / f"{title.split(',')[0].replace(' ', '-')}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(what: str, found: Any, asked: Sequence[float]) -> dict[str, Any]:
    """One line of a table: what is read in the mean at each value asked for, and how it follows."""
    means = {f"{value:g}": round(mean, 1) for value, mean in zip(asked, found.means, strict=True)}
    return {"what": what, **means, "Spearman": found.spearman, "slope": round(found.slope, 6), "error": found.error}


def disks(given: argparse.Namespace) -> bool:
    """Fresh disks: true radius, and what was to stay as it is: the color in the middle, the place."""
    from ganforge.domains.attribute_example import disks as drawn
    from ganforge.domains.attribute_example import radius_of
    from ganforge.measure.attribute import following

    made = model(given, "disks", given.out / f"disks-{given.seed}", {}, 60_000)
    levels, _ = drawn(*made.domain.shape[1:], seed=1)
    images, asked = levels[:JUDGED].transpose(0, 2, 3, 1), made.domain.asked
    changed = made.translate(images, to=list(asked))
    found = following(asked, np.stack([radius_of(one) for one in changed], 1))
    copy = following(asked, np.repeat(radius_of(images)[:, None], len(asked), 1))
    table(f"disks {given.seed}", [row("age", found, asked), row("unchanged", copy, asked)], given.out)
    color = np.mean([np.abs(middle(one) - middle(images)).mean() for one in changed])
    others = np.abs(middle(images) - np.roll(middle(images), 1, 0)).mean()
    place = np.mean([np.linalg.norm(center(one) - center(images), axis=1).mean() for one in changed])
    elsewhere = np.linalg.norm(center(images) - np.roll(center(images), 1, 0), axis=1).mean()
    print(f"color in the middle: {color:.1f} levels off (of another disk: {others:.1f})")
    print(f"place: {place:.2f} pixels off (another disk's: {elsewhere:.2f})", flush=True)
    picture(given.out / f"disks-{given.seed}.png", images, changed, [f"radius {value:g}" for value in asked])
    return found.rises == 1 and found.spearman > 0.95 and found.slope > 0.7 and color < others and place < elsewhere


def brightness(images: np.ndarray) -> np.ndarray:
    """How far each pixel is from the ground: [n, height, width]."""
    levels = images.astype(np.float64)
    return np.linalg.norm(levels - levels[:, :1, :1], axis=3)


def center(images: np.ndarray) -> np.ndarray:
    """The middle of what stands out: (row, column) [n, 2]."""
    weights = brightness(images) ** 2 + 1e-9
    places = np.stack(np.mgrid[: images.shape[1], : images.shape[2]], -1)
    return (weights[..., None] * places).sum((1, 2)) / weights.sum((1, 2))[:, None]


def middle(images: np.ndarray) -> np.ndarray:
    """The color at that place: [n, 3]."""
    where = center(images).round().astype(int)
    return images[np.arange(len(images)), where[:, 0], where[:, 1]].astype(np.float64)


def picture(
    path: Path, images: np.ndarray, changed: Sequence[np.ndarray], names: Sequence[str], count: int = 10
) -> None:
    """A row for each image: itself, and changed."""
    from ganforge.domains.attribute import rows_under

    rows_under(["input", *names], np.stack([images[:count], *[one[:count] for one in changed]], 1)).save(path)
    print(f"picture: {path}", flush=True)


def parts(out: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """The archive of the faces that may be learned from; the others [n, 64, 64, 3], and their ages."""
    archive, train = DATA / "faces-ages-64.zip", out / "faces-train.zip"
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file.open("metadata.csv"))))
        order = np.random.default_rng(0).permutation(len(rows))
        held, rest = [rows[i] for i in order[:HELD]], [rows[i] for i in sorted(order[HELD:])]
        if not train.is_file():
            with zipfile.ZipFile(out / "part.tmp", "w") as to:
                to.writestr(
                    "metadata.csv", "\n".join(["file_name,age", *(f"{r['file_name']},{r['age']}" for r in rest)])
                )
                for each in rest:
                    to.writestr(each["file_name"], file.read(each["file_name"]))
            (out / "part.tmp").rename(train)
        faces = np.stack([np.asarray(Image.open(io.BytesIO(file.read(r["file_name"]))).convert("RGB")) for r in held])
    return train, faces, np.array([float(r["age"]) for r in held])


def smaller(images: np.ndarray, side: int) -> np.ndarray:
    """Antialiased, to squares."""
    if images.shape[1] == side:
        return images
    return np.stack([np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.LANCZOS)) for i in images])


def faces(given: argparse.Namespace) -> bool:
    """Held-out faces at ages 10 to 80."""
    from ganforge.domains import open_data
    from ganforge.domains.attribute import AttributeOptions
    from ganforge.measure.attribute import following, train_reader
    from ganforge.measure.selfsupervised import train_features

    train, held, ages = parts(given.out)
    side = given.resolution
    data = {"resolution": side, "mirror": True}
    run = given.out / f"faces-{side}-{given.seed}{''.join('-' + s for s in given.set)}"
    made = model(given, str(train), run, data, 100_000)
    domain, source = open_data(str(train), AttributeOptions(resolution=side), ("attribute",))
    held = smaller(held, side)

    def encode(images: np.ndarray) -> torch.Tensor:
        return domain.encode({"data": torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))})["data"]

    def examples(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch = domain.encode(source.take(rows))
        return batch["data"], batch["value"]

    kept = given.out / f"reader-{side}.npz"
    reader = remembered(kept, lambda: train_reader(examples, len(source), samples=given.reader_samples), domain)

    def read(images: np.ndarray) -> np.ndarray:
        return reader(encode(images)).numpy() * domain.sd + domain.mean

    error = np.abs(read(held) - ages).mean()
    constant = np.abs(np.median(source.values.numpy()) - ages).mean()
    own = np.abs(estimates(made, encode(held)) - ages).mean()
    print(
        f"reader: {error:.2f} years off on {HELD:,} held-out faces (the median age: {constant:.2f}; the model's own "
        f"D: {own:.2f})"
    )
    images = held[:JUDGED]
    changed = made.translate(images, to=list(ASKED))
    real = [another(held, ages, value) for value in ASKED]
    rows = [
        row("age", following(ASKED, np.stack([read(one) for one in changed], 1)), ASKED),
        row("unchanged", following(ASKED, np.repeat(read(images)[:, None], len(ASKED), 1)), ASKED),
        row("another real face of that age", following(ASKED, np.stack([read(one) for one in real], 1)), ASKED),
    ]
    title = f"faces {side} {given.seed}, {made.facts['samples']:,} images, {JUDGED} held-out faces"
    table(title, rows, given.out)
    picture(given.out / f"faces-{side}-{given.seed}.png", images, changed, [f"age {value}" for value in ASKED])
    names = ["SqueezeNet"] if Path(WEIGHTS).is_file() else []
    for name in [*names, "self-supervised"]:
        embed = squeezed
        if name == "self-supervised":
            learned = train_features(domain, source, 0)
            print(learned)
            embed = lambda x: learned.features(encode(x))  # noqa: B023, E731
        for line, versions in zip(rows, (changed, [images] * len(ASKED), real), strict=True):
            line |= who(name, embed, versions, images)
        print(f"{name}, the same face mirrored, moved and lit otherwise: {who(name, embed, [lit(images)], images)}")
        table(title, rows, given.out)
    found = following(ASKED, np.stack([read(one) for one in changed], 1))
    ratios, nearer = ([rows[0][key] for key in rows[0] if key.endswith(end)] for end in (" ratio", " nearer"))
    near = max(ratios) < 1 and min(nearer) > 0.9
    return found.rises == 1 and found.spearman > 0.5 and found.slope > 0.3 and near


def remembered(path: Path, make: Any, domain: Any) -> Any:
    """A reader that was trained before, or now."""
    from ganforge.measure.attribute import Reader
    from ganforge.measure.classifier import ConvClassifier

    if not path.is_file():
        reader = make()
        np.savez(
            path, error=reader.error, held=reader.held, **{k: v.numpy() for k, v in reader.network.state_dict().items()}
        )
    with np.load(path, allow_pickle=False) as file:
        network = ConvClassifier(domain.shape, 1)
        network.load_state_dict({k: torch.from_numpy(file[k]) for k in network.state_dict()})
        return Reader(network.eval().requires_grad_(False), float(file["error"]), int(file["held"]))


@torch.no_grad()
def estimates(made: Any, images: torch.Tensor) -> np.ndarray:
    """What the model itself takes the ages for."""
    return (
        torch.cat([made.game.read(part) for part in images.split(256)])[:, 0].numpy() * made.domain.sd
        + made.domain.mean
    )


def another(held: np.ndarray, ages: np.ndarray, value: float) -> np.ndarray:
    """For each judged face another held-out one whose age is as near as possible to ``value`` (10 faces in turn)."""
    nearest = np.argsort(np.abs(ages - value), kind="stable")[:10]
    return held[np.resize(nearest, JUDGED)]


def lit(images: np.ndarray) -> np.ndarray:
    """Mirrored, two pixels to the side, and a tenth darker: who it is stays the same."""
    return (np.roll(images[:, :, ::-1], 2, 2) * 0.9).astype(np.uint8)


@torch.no_grad()
def squeezed(images: np.ndarray) -> torch.Tensor:
    """SqueezeNet's pooled features of images enlarged to 96 pixels: [n, channels of all stages]."""
    from ganforge.nn.squeezenet import trained_squeezenet

    network, found = trained_squeezenet(WEIGHTS, torch.device("cpu")), []
    for part in torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).split(64):
        large = torch.nn.functional.interpolate(part.float() / 127.5 - 1, (96, 96), mode="bilinear")
        found.append(torch.cat([m.mean((2, 3)) for m in network.looks(large)], 1))
    return torch.cat(found)


def who(name: str, embed: Any, versions: Sequence[np.ndarray], images: np.ndarray) -> dict[str, Any]:
    """How far faces are still their own, in the mean over the ages asked for."""
    from ganforge.measure.attribute import identity

    originals = embed(images)
    found = [identity(embed(one), originals) for one in versions]
    return {f"{name} {key}": float(np.mean([getattr(f, key) for f in found])) for key in ("ratio", "nearer", "found")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("disks", "faces"))
    parser.add_argument("--out", type=Path, default=Path("age"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=None)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--reader-samples", type=int, default=40_000)
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, such as keep=3")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    passed = {"disks": disks, "faces": faces}[given.what](given)
    print("passed" if passed else "MISSED", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
