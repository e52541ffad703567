"""Images from images, measured: trains what is not trained yet, translates held-out images, and exits 1 on a miss.

    python bench/pairs.py facades --out DIR       pix2pix on labels to photos, and a U-Net as big with L1 alone
                                                  (--direction AtoB: photos to labels; --side 128)
    python bench/pairs.py made --out DIR          the same for grey photos of horses to colors, and edges to photos
    python bench/pairs.py restore --out DIR       denoising, super-resolution, inpainting: faithful, sharp and sharp+
    python bench/pairs.py digits --out DIR        CycleGAN on MNIST against inverted MNIST, where the answer is known
                                                  (--target colored: against MNIST in colors; colored-rgb: the same,
                                                  from grey in three channels; orange: the built-in example)
    python bench/pairs.py horses --out DIR        CycleGAN on horses and zebras: nearer to real ones, and a picture

Held-out images are the data's own test parts, which no run sees. DIR keeps the runs, the tables and the pictures; a
run that is there is not trained again (``ganforge resume`` lengthens it). Feature distances need SqueezeNet's
weights: GANFORGE_SQUEEZENET.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pair_scores import (
    DATA,
    WEIGHTS,
    Images,
    color_counts,
    colorfulness,
    each_score,
    lead,
    palette,
    palette_lead,
    scores,
)
from recolored import TARGETS, colors, grey, recolored, there, upright

RIGHT = 0.95
SHARPENING = 0.2
"""Samples that sharpening takes, as a share of those that its start took."""
DEGRADES = {"denoise": "noise:25", "x2": "shrink:2", "x4": "shrink:4", "inpaint": "holes:0.25"}
TESTS = ("Set5", "Set12", "BSD68")

Row = Mapping[str, Any]


def model(
    recipe: str, path: str | Path, run: Path, seed: int, samples: int, params: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None, fork: Path | None = None,
) -> Any:  # fmt: skip
    """The trained model of a run folder, trained first if it is not there (from the weights of ``fork``, if given)."""
    import ganforge
    from ganforge.api import console_for, start
    from ganforge.config import Settings

    if not (run / "model").is_dir():
        train = {"seed": seed, "samples": samples, "device": "cpu"}
        settings = Settings(recipe, str(path), dict(params or {}), dict(data or {}), train)
        start(settings, run, run.parent, (), console_for(True), fork=fork)
    return ganforge.load(run, "cpu")


def images_of(archive: Path, folder: str, mode: str | None = None) -> tuple[list[str], Images]:
    """Names and images [h, w, c] in a folder of a zip archive."""
    names, found = [], []
    with zipfile.ZipFile(archive) as file:
        for name in sorted(file.namelist()):
            if name.startswith(f"{folder}/") and not name.endswith("/"):
                picture = Image.open(io.BytesIO(file.read(name)))
                levels = np.asarray(picture.convert(mode) if mode else picture)
                names.append(name)
                found.append(levels[..., None] if levels.ndim == 2 else levels)
    return names, found


def resized(images: Images, side: int) -> Images:
    """Antialiased, to squares."""
    return [np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.LANCZOS)) for i in images]


def table(title: str, rows: Sequence[Row], out: Path) -> None:
    """Print and keep a Markdown table."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    cells = [[row.get(k, "") for k in keys] for row in rows]
    lines = [f"### {title}", "", "| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    lines += ["| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in row) + " |" for row in cells]
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{title.split(',')[0].replace(' ', '-')}.md").write_text(text, encoding="utf-8")


def picture(rows: list[tuple[str, Images]], path: Path) -> None:
    """Rows of images of one size, as PNG."""
    from ganforge.domains.sides import pictures_in_rows

    pictures_in_rows([(name, np.stack(images)) for name, images in rows]).save(path)
    print(f"picture: {path}", flush=True)


def facades(given: argparse.Namespace) -> bool:
    """Labels to photos, or photos to labels: nearer than the input, and than L1 alone."""
    archive, side, direction = DATA / "facades-pairs256.zip", given.side, given.direction
    data = {"resolution": side * 9 // 8, "crop": side, "mirror": True, "direction": direction}
    _, wholes = images_of(archive, "test", "RGB")
    photos = resized([i[:, : i.shape[1] // 2] for i in wholes], side)
    labels = resized([i[:, i.shape[1] // 2 :] for i in wholes], side)
    inputs, truth = (labels, photos) if direction == "BtoA" else (photos, labels)
    return beside_l1(given, f"facades-{direction}-{side}", archive, data, inputs, truth)


def made(given: argparse.Namespace) -> bool:
    """Colors for grey photos of horses, and photos from their edges: the inputs are made by data.degrade."""
    import torch

    from ganforge.ops.degrade import parse

    archive, side, passed = DATA / "horse2zebra-128.zip", given.side, True
    truth = resized(images_of(archive, "testA", "RGB")[1], side)
    x = torch.from_numpy(np.stack(truth)).permute(0, 3, 1, 2) / 127.5 - 1
    for degrade in given.tasks.split(",") if given.tasks else ("grey", "edges"):
        levels = ((parse(degrade)(x) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
        data = {"resolution": side * 9 // 8, "crop": side, "mirror": True, "split": "trainA", "degrade": degrade}
        passed &= beside_l1(given, f"horses-{degrade}-{side}", archive, data, list(levels.numpy()), truth)
    return passed


def beside_l1(
    given: argparse.Namespace, name: str, archive: Path, data: Mapping[str, Any], inputs: Images, truth: Images
) -> bool:
    """pix2pix and the same U-Net with L1 alone, on held-out pairs: table, picture, and whether pix2pix is nearest.

    Nearer than L1 alone is what is clear of the noise, over these images: a tie is a miss.
    """
    rows: list[dict[str, Any]] = [{"what": "input", **scores(inputs, truth)}]
    distances: list[list[float]] = []
    counts, true_counts = [], color_counts(truth)
    shown = [("input", inputs[:8])]
    for what, params in (("pix2pix", {}), ("L1 alone", {"adversarial": 0.0})):
        run = given.out / f"{name}-{what.split()[0].lower()}-{given.seed}"
        trained = model("pix2pix", archive, run, given.seed, given.samples or 20_000, params, data)
        outputs = list(trained.translate([i[..., : trained.domain.input_shape[0]] for i in inputs], seed=0))
        found = each_score(outputs, truth)
        distances.append(found.get("features", []))
        rows.append({"what": what, **{name: float(np.mean(values)) for name, values in found.items()}})
        counts.append(color_counts(outputs))
        rows[-1] |= {"colorful": colorfulness(outputs, truth), "palette": palette(counts[-1], true_counts)}
        rows[-1]["samples"] = trained.facts["samples"]
        shown.append((what, outputs[:8]))
    picture([*shown, ("truth", truth[:8])], given.out / f"{name}-{given.seed}.png")
    if distances[0]:
        rows[1] |= lead(*distances)
    rows[1]["palette nearer by"] = palette_lead(counts[0], counts[1], true_counts)
    table(f"{name} {given.seed}, {len(truth)} test pairs", rows, given.out)
    return rows[1].get("features", 0.0) < rows[0].get("features", 1.0) and rows[1].get("verdict", "nearer") == "nearer"


def restore(given: argparse.Namespace) -> bool:
    """Faithful: PSNR and SSIM above the degraded input everywhere. Sharp: nearer in features, its loss told."""
    archive, passed = DATA / "restoration.zip", True
    for task in given.tasks.split(",") if given.tasks else DEGRADES:
        degrade = DEGRADES[task]
        border = int(degrade[-1]) if degrade.startswith("shrink") else 0
        data = {"split": "Train400", "degrade": degrade, "crop": 48 if task == "denoise" else 64, "mirror": True}
        rows: list[dict[str, Any]] = []
        shown: list[tuple[str, Images]] = []
        worse: list[tuple[np.ndarray, np.ndarray]] = []
        truth: Images = []
        looks = given.looks.split(",")
        for test in TESTS:
            truth = [whole(image, border or 1) for image in images_of(archive, test, "L")[1]]
            for look in looks:
                made = restorer(given, archive, task, look, data)
                if look == looks[0]:
                    worse = [degraded(made, image, i) for i, image in enumerate(truth)]
                    rows.append({"test": test, "what": "input", **scores([w[1] for w in worse], truth, border)})
                    shown = [("input", [middle(w[1]) for w in worse[-6:]])]
                outputs = [made.translate(given_) for given_, _ in worse]
                rows.append({"test": test, "what": look, **scores(outputs, truth, border)})
                shown.append((look, [middle(o) for o in outputs[-6:]]))
            part = rows[-1 - len(looks) :]
            passed &= part[1]["psnr"] > part[0]["psnr"] and part[1]["ssim"] > part[0]["ssim"]
            passed &= len(looks) < 2 or part[2].get("features", 0.0) < part[1].get("features", 1.0)
        picture([*shown, ("truth", [middle(t) for t in truth[-6:]])], given.out / f"restore-{task}-{given.seed}.png")
        table(f"restore {task} {given.seed}, {degrade}", rows, given.out)
    return passed


def restorer(given: argparse.Namespace, archive: Path, task: str, look: str, data: Mapping[str, Any]) -> Any:
    """A trained model: faithful from nothing; sharp and sharp+ from faithful's weights, as SRGAN does.

    The perceptual term of ``sharp`` are the discriminator's features, that of ``sharp+`` SqueezeNet's, with which
    feature distances are measured too.
    """
    start, samples = given.out / f"restore-{task}-faithful-{given.seed}", given.samples or 60_000
    if look == "faithful":
        return model("restore", archive, start, given.seed, samples, data=data)
    run = given.out / f"restore-{task}-{look}-{given.seed}"
    params: dict[str, Any] = {"look": "sharp", "lr": 2e-4}
    if look == "sharp+":
        params["feature_weights"] = WEIGHTS
    return model("restore", archive, run, given.seed, int(samples * SHARPENING), params, data, fork=start)


def whole(image: np.ndarray, multiple: int) -> np.ndarray:
    """Cut so that the sides are multiples, as is usual for super-resolution."""
    return image[: image.shape[0] // multiple * multiple, : image.shape[1] // multiple * multiple]


def middle(image: np.ndarray, side: int = 128) -> np.ndarray:
    """The central square."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def degraded(made: Any, image: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """What a user would have (small, noisy, or with clear holes), and the same at the truth's size, as compared."""
    import torch

    degradation = made.domain.degradation
    x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    torch.manual_seed(index)
    worse = degradation(x)
    levels = ((worse.clamp(-1, 1) + 1) * 127.5).round()[0].permute(1, 2, 0).numpy().astype(np.uint8)
    if degradation.scale > 1:  # Pillow's bicubic, as papers use it
        (width, height), flat = image.shape[1::-1], Image.fromarray(image[..., 0])
        small = flat.resize((width // degradation.scale, height // degradation.scale), Image.Resampling.BICUBIC)
        large = small.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(small)[..., None], np.asarray(large)[..., None]
    if degradation.holes:
        return np.concatenate([levels[..., :1], 255 - levels[..., 1:]], 2), levels[..., :1]
    return levels, levels


def mnist(target: str, out: Path) -> tuple[Path, dict[str, Any], Any, Any, Any]:
    """10,000 digits (a file), as many others changed (``data.target``), the domain, a judge, and 2,000 test digits."""
    import torch

    from ganforge.domains import open_data
    from ganforge.measure.classifier import train_classifier

    suffix = "" if target == "inverted" else f"-{target}"
    domain, source = open_data(str(DATA / "mnist-train.zip"))
    rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    levels = source.take(rows[:20_000])["data"].permute(0, 2, 3, 1).numpy()
    for name, part in (("A", grey(levels[:10_000], target)), ("B", recolored(levels[10_000:], target, 0))):
        if not (out / f"mnist{suffix}-{name}.npz").is_file():
            np.savez(out / f"mnist{suffix}-{name}.npz", images=part)
    _, test = open_data(str(DATA / "mnist-test.zip"))
    held = test.take(torch.randperm(len(test), generator=torch.Generator().manual_seed(1))[:2000])
    data = {"target": str(out / f"mnist{suffix}-B.npz")}
    return out / f"mnist{suffix}-A.npz", data, domain, train_classifier(domain, source, test, 0), held


def orange_digits() -> tuple[str, dict[str, Any], Any, Any, Any]:
    """The built-in example, the domain, a judge, and digits that set A lacks (grey ones; B has them in orange)."""
    import torch

    from ganforge.domains import open_data
    from ganforge.measure.classifier import train_classifier

    domain, source = open_data("digits")
    held = source.take(torch.arange(len(source) // 2, len(source)))
    return "orange-digits", {}, domain, train_classifier(domain, source), held


def digits(given: argparse.Namespace) -> bool:
    """Digits against inverted or colored ones: the class must stay, and the look must be that of the other set."""
    target, suffix = given.target, "" if given.target == "inverted" else f"-{given.target}"
    given.out.mkdir(parents=True, exist_ok=True)
    spec, data, domain, judge, held = orange_digits() if target == "orange" else mnist(target, given.out)
    samples = given.samples or {"inverted": 30_000, "orange": 12_000}.get(
        target, 100_000
    )  # one color a digit comes late
    made = model("cyclegan", spec, given.out / f"digits{suffix}-{given.seed}", given.seed, samples, data=data)
    images, label = held["data"].permute(0, 2, 3, 1).numpy(), held["label"]
    found, passed = [], True
    shown: list[tuple[str, Images]] = []
    for direction, start in (("AtoB", grey(images, target)), ("BtoA", recolored(images, target, 1))):
        outputs = made.translate(start, direction)
        plain = upright(outputs, target, direction[-1])
        right = classes(judge, domain, plain) == label
        landed = there(outputs, target, direction[-1])
        share = float(right.float().mean())
        found.append(
            {
                "direction": direction, "class kept": share, "in the target domain": float(landed.mean()),
                "both": float((right.numpy() & landed).mean()),
                "L1 to the right answer": float(np.abs(plain / 255 - images / 255).mean()),
            }
        )  # fmt: skip
        if outputs.shape[3] > 1:
            pale, along = colors(outputs)
            found[-1] |= {"pale (median)": float(np.median(pale)), "along one color (median)": float(np.median(along))}
        passed &= found[-1]["both"] >= RIGHT
        rgb = [x[:10].repeat(3 // x.shape[3], axis=3) for x in (start, outputs)]
        shown += [(direction[0], list(rgb[0])), (direction, list(rgb[1]))]
    found.append(
        {"direction": "(real digits)", "class kept": float((classes(judge, domain, images) == label).float().mean())}
    )
    picture(shown, given.out / f"digits{suffix}-{given.seed}.png")
    table(f"digits{suffix} {given.seed}, {judge}", found, given.out)
    return passed


def classes(judge: Any, domain: Any, images: np.ndarray) -> Any:
    """The judge's classes of images [n, h, w, c]."""
    import torch

    raw = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return judge.logits(domain.encode({"data": raw})["data"]).argmax(1)


def horses(given: argparse.Namespace) -> bool:
    """Horses to zebras and back: nearer to the real ones than what was given, by half of the way or more.

    The distance is KID of SqueezeNet's features, of 100 test images (enlarged from ``side``) to ``KNOWN`` training
    images of the target; where it would be no larger for real test images is the end of the way. ``called`` is the
    share of images that SqueezeNet calls a zebra (or a sorrel, the only horse among its 1,000 classes), as the
    likeliest or among the five likeliest. Without its weights there is only the picture.
    """
    archive, side = DATA / "horse2zebra-128.zip", given.side
    run = given.out / f"horses-{given.seed}"
    data = {"resolution": side, "mirror": True}
    trained = model("cyclegan", archive, run, given.seed, given.samples or 20_000, data=data)
    sets = {folder: resized(images_of(archive, folder, "RGB")[1], side) for folder in ("testA", "testB")}
    sets |= {way: list(trained.translate(sets[f"test{way[0]}"], way)) for way in ("AtoB", "BtoA")}
    shown = [(name, sets[name][:: len(sets[name]) // 10][:10]) for name in ("testA", "AtoB", "testB", "BtoA")]
    picture(shown, given.out / f"horses-{given.seed}.png")
    if not Path(WEIGHTS).is_file():
        return True
    seen = {name: seen_by_squeezenet(images) for name, images in sets.items()}
    rows: list[dict[str, Any]] = []
    passed = True
    for way, wanted in (("AtoB", "zebra"), ("BtoA", "horse")):
        start, goal, known = f"test{way[0]}", f"test{way[-1]}", images_of(archive, f"train{way[-1]}", "RGB")[1]
        real = seen_by_squeezenet(resized(known[:KNOWN], side))[0]
        part = [{"to": wanted, "what": x, **nearness(real, *seen[x], CLASSES[wanted])} for x in (start, way, goal)]
        change = [np.abs(np.subtract(i, o, dtype=float)).mean() for i, o in zip(sets[start], sets[way], strict=True)]
        part[1]["L1 change"] = float(np.mean(change)) / 255
        passed &= part[1]["kid"] - part[2]["kid"] <= 0.5 * (part[0]["kid"] - part[2]["kid"])
        rows += part
    table(f"horses {given.seed}, {trained.facts['samples']} images of {side} pixels", rows, given.out)
    return passed


CLASSES = {"horse": 339, "zebra": 340}
"""ImageNet's sorrel and zebra."""
KNOWN = 200


def seen_by_squeezenet(images: Images) -> tuple[Any, Any]:
    """Features [n, 512], in units that make KID about 1, and class logits [n, 1000]."""
    import torch

    from ganforge.domains.image import ImageDomain
    from ganforge.measure.features import find_extractor

    domain: Any = ImageDomain(shape=(3, *images[0].shape[:2]))
    extract = find_extractor("squeezenet", domain, source=domain, weights=Path(WEIGHTS))  # learns from no source
    features, logits = extract({"data": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)})
    return features / 10, logits


def nearness(real: Any, features: Any, logits: Any, wanted: int) -> dict[str, Any]:
    """KID to ``real``, half of its 95 % interval, and how often images are called ``wanted``."""
    from ganforge.measure.metrics.kernel import kid

    score, best = kid(real, features)["kid"], logits.topk(5).indices == wanted
    half = (score.high - score.low) / 2  # type: ignore[operator]
    called, five = float(best[:, 0].float().mean()), float(best.any(1).float().mean())
    return {"kid": score.value, "+-": half, "called": called, "among 5": five}


TASKS = {"facades": facades, "made": made, "restore": restore, "digits": digits, "horses": horses}


def arguments() -> Iterator[tuple[str, dict[str, Any]]]:
    """The command line's options."""
    yield "--out", {"type": Path, "default": Path("pairs")}
    yield "--seed", {"type": int, "default": 0}
    yield "--samples", {"type": int, "default": None}
    yield "--side", {"type": int, "default": 64}
    yield "--direction", {"default": "BtoA", "choices": ("AtoB", "BtoA")}
    yield "--target", {"default": "inverted", "choices": TARGETS, "help": "of digits"}
    yield "--tasks", {"default": "", "help": "some only, with commas: grey,edges or denoise,x2,x4,inpaint"}
    yield "--looks", {"default": "faithful,sharp+"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=TASKS)
    for name, options in arguments():
        parser.add_argument(name, **options)
    given = parser.parse_args()
    passed = TASKS[given.what](given)
    print("passed" if passed else "MISSED", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
