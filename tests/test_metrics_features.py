"""Resizing against Pillow, the Inception port against an independent account of its oddities, weights, extractors."""

from __future__ import annotations

import builtins
import hashlib
import http.server
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure import inception, weights
from ganforge.measure.features import NAMES, as_rgb, find_extractor, levels
from ganforge.measure.resize import resize
from ganforge.nn.squeezenet import SqueezeNet


def pictures(smooth: bool) -> np.ndarray:
    draw = np.random.default_rng(0)
    if smooth:
        small = Image.fromarray(draw.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        return np.array(small.resize((31, 40), Image.Resampling.BILINEAR))
    return draw.integers(0, 2, (40, 31, 3), dtype=np.uint8) * 255  # the hardest: overshoots are cut off everywhere


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(299, 299), (8, 8), (40, 31), (50, 7), (1, 1), (40, 90), (90, 31), (17, 50)])
def test_resize_agrees_with_pillow(kind: Any, size: tuple[int, int]) -> None:
    turned_round = size == (17, 50)
    for image in (pictures(smooth=True), pictures(smooth=turned_round)):
        theirs = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[kind.upper()]))
        mine = resize(torch.from_numpy(image).permute(2, 0, 1)[None], size, kind)[0].permute(1, 2, 0).numpy()
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs.astype(np.float32)).max() <= 1


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_resize_agrees_with_pillow_on_photographs(kind: Any) -> None:
    import io
    import zipfile

    with zipfile.ZipFile(real_data("horse2zebra-128.zip")) as file:
        names = [n for n in file.namelist() if n.endswith(".jpg")][:6]
        images = [Image.open(io.BytesIO(file.read(name))).convert("RGB") for name in names]
    for image in images:
        for size in ((299, 299), (64, 64), (18, 40)):
            theirs = np.asarray(image.resize(size[::-1], Image.Resampling[kind.upper()])).astype(np.float32)
            mine = resize(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None], size, kind)[0]
            assert np.abs(mine.permute(1, 2, 0).numpy() - theirs).max() <= 1


def test_levels_and_channels() -> None:
    assert levels(torch.tensor([0.0, 257.0, 65535.0]), 16).tolist() == [0, 1, 255]
    clear = torch.zeros(1, 4, 1, 1)
    assert as_rgb(clear).flatten().tolist() == [255, 255, 255]
    with pytest.raises(InputError, match="not 2"):
        as_rgb(torch.zeros(1, 2, 1, 1))


@pytest.fixture(scope="module")
def network() -> inception.InceptionV3:
    torch.manual_seed(0)
    made = inception.InceptionV3()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return made.eval().requires_grad_(False)


def test_inception_has_the_published_names_and_shapes(network: inception.InceptionV3) -> None:
    state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 - 2_049_000 + 2_065_392
    shapes = {
        "Conv2d_1a_3x3.conv.weight": [32, 3, 3, 3],
        "Conv2d_4a_3x3.bn.running_var": [192],
        "Mixed_5b.branch5x5_2.conv.weight": [64, 48, 5, 5],
        "Mixed_5d.branch_pool.conv.weight": [64, 288, 1, 1],
        "Mixed_6a.branch3x3dbl_3.conv.weight": [96, 96, 3, 3],
        "Mixed_6c.branch7x7dbl_4.conv.weight": [160, 160, 7, 1],
        "Mixed_6e.branch7x7_2.conv.weight": [192, 192, 1, 7],
        "Mixed_7a.branch7x7x3_4.conv.weight": [192, 192, 3, 3],
        "Mixed_7b.branch3x3_2a.conv.weight": [384, 384, 1, 3],
        "Mixed_7c.branch3x3dbl_3b.conv.weight": [384, 384, 3, 1],
        "fc.weight": [1008, 2048],
        "fc.bias": [1008],
    }
    assert {name: list(state[name].shape) for name in shapes} == shapes
    assert len([name for name in state if name.endswith("conv.weight")]) == 94
    features, logits = network(torch.zeros(1, 3, 299, 299))
    assert features.shape == (1, 2048) and logits.shape == (1, 1008)
    assert torch.allclose(logits, features @ network.fc.weight.T)


def test_inception_pools_as_fid_does(network: inception.InceptionV3) -> None:
    """Averages over the pixels that exist, and in the last block a maximum: written out here with sums and shifts."""
    x = torch.randn(2, 192, 9, 9)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    exist = torch.nn.functional.pad(torch.ones(1, 1, 9, 9), (1, 1, 1, 1))
    shifts = [(i, j) for i in range(3) for j in range(3)]
    total = sum(padded[:, :, i : i + 9, j : j + 9] for i, j in shifts)
    count = sum(exist[:, :, i : i + 9, j : j + 9] for i, j in shifts)
    assert float(count.min()) == 4  # type: ignore[union-attr]
    pooled = network.Mixed_5b.branch_pool(total / count)
    assert torch.allclose(network.Mixed_5b(x)[:, -32:], pooled, atol=1e-5)
    x = torch.randn(2, 2048, 8, 8)
    low = torch.nn.functional.pad(x, (1, 1, 1, 1), value=-torch.inf)
    highest = torch.stack([low[:, :, i : i + 8, j : j + 8] for i, j in shifts]).max(0).values
    assert torch.allclose(network.Mixed_7c(x)[:, -192:], network.Mixed_7c.branch_pool(highest), atol=1e-5)
    x = torch.randn(2, 1280, 8, 8)
    assert torch.allclose(
        network.Mixed_7b(x)[:, -192:], network.Mixed_7b.branch_pool(inception.average_pool(x)), atol=1e-5
    )


def test_inception_extractor_reads_given_weights(network: inception.InceptionV3, tmp_path: Path) -> None:
    path = tmp_path / "inception.safetensors"
    save_file(network.state_dict(), path)
    domain, source = open_data("digits")
    extract = find_extractor("inception", domain, source, weights=path)
    raw = source.take(torch.arange(3))
    features, logits = extract(raw)
    assert features.shape == (3, 2048) and logits is not None
    assert extract.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    prepared = (resize(raw["data"].expand(-1, 3, -1, -1), (299, 299)) - 128) / 128
    assert torch.allclose(features, network(prepared)[0], atol=1e-5)
    wrong = tmp_path / "wrong.safetensors"
    save_file({k: v for k, v in network.state_dict().items() if k != "fc.bias"}, wrong)
    with pytest.raises(InputError, match=r"lacks fc\.bias"):
        find_extractor("inception", domain, source, weights=wrong)
    wrong.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        find_extractor("inception", domain, source, weights=wrong)


def test_weights_by_path_environment_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    assert weights.present("inception") is None
    weights.cached("inception").parent.mkdir(parents=True)
    for place in (weights.cached("inception"), tmp_path / "env", tmp_path / "given"):
        place.write_bytes(b"x")
    assert weights.present("inception") == weights.cached("inception")
    monkeypatch.setenv("GANFORGE_INCEPTION", str(tmp_path / "env"))
    assert weights.present("inception") == tmp_path / "env"
    assert weights.present("inception", tmp_path / "given") == tmp_path / "given"
    with pytest.raises(InputError, match=r"no weights at .*absent"):
        weights.present("inception", tmp_path / "absent")
    with pytest.raises(InputError, match="GANFORGE_SQUEEZENET"):
        weights.find_weights("squeezenet")


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A release address on this machine, with a small file of weights."""
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    content = tmp_path / "site" / "tiny.pth"
    content.parent.mkdir()
    torch.save({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, content)  # noqa: TID251

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(content.parent))

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/tiny.pth"
    good = weights.Release(address, hashlib.sha256(content.read_bytes()).hexdigest())
    monkeypatch.setitem(weights.RELEASES, "tiny", good)
    yield good
    server.shutdown()


def test_weights_are_downloaded_checked_and_kept(release: weights.Release, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights.find_weights("tiny")
    assert path == weights.cached("tiny")
    layer = torch.nn.Linear(3, 2)
    weights.load_weights(layer, "tiny", path)
    assert layer.weight.detach().eq(1).all()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("downloaded again"))
    assert weights.find_weights("tiny") == path


def test_a_wrong_download_is_refused(release: weights.Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.RELEASES, "tiny", weights.Release(release.url, "0" * 64))
    with pytest.raises(InputError, match="not the published file"):
        weights.find_weights("tiny")
    assert not weights.cached("tiny").exists()


def test_offline_is_one_line_that_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path))
    monkeypatch.setitem(weights.RELEASES, "inception", weights.Release("http://127.0.0.1:9/x.pth", "0" * 64))
    with pytest.raises(InputError, match=r"x\.pth elsewhere, then give it with --weights FILE or GANFORGE_") as e:
        weights.find_weights("inception")
    assert "\n" not in str(e.value)


def test_squeezenet_with_the_real_weights() -> None:
    path = real_data("../weights/squeezenet1_0.safetensors")
    domain, source = open_data("digits")
    extract = find_extractor("squeezenet", domain, source, weights=path)
    features, logits = extract(source.take(torch.arange(40)))
    assert features.shape == (40, 512) and logits is not None and logits.shape == (40, 1000)
    assert set(SqueezeNet().state_dict()) >= {"features.12.expand3x3.weight", "classifier.1.bias"}
    labels = source.take(torch.arange(40))["label"]
    unit = torch.nn.functional.normalize(features - features.mean(0), dim=1)
    nearest = (unit @ unit.T).fill_diagonal_(-1).argmax(1)
    assert float((labels[nearest] == labels).double().mean()) > 0.6  # a trained network knows like from unlike


def test_pixels_shrink_large_images_only(tmp_path: Path) -> None:
    domain, source = open_data("digits")
    extract = find_extractor("pixels", domain, source)
    assert extract.resizer == "none"
    assert extract(source.take(torch.arange(5)))[0].shape == (5, 64)
    for i in range(3):
        Image.new("RGB", (64, 48), (i, 9, 9)).save(tmp_path / f"{i}.png")
    domain, source = open_data(str(tmp_path))
    extract = find_extractor("pixels", domain, source)
    features = extract(source.take(torch.arange(3)))[0]
    assert features.shape[1] <= 1024 and features.max() <= 1 and "bilinear" in extract.resizer
    with pytest.raises(InputError, match="one shape"):
        extract({"data": torch.zeros(1, 1, 8, 8)})


def test_auto_and_names() -> None:
    images, points = open_data("digits"), open_data("ring")
    assert find_extractor("auto", *images).name == "pixels"
    assert find_extractor("auto", *points).name == "values"
    assert find_extractor("values", *points)(points[1].take(torch.arange(4)))[0].shape == (4, 2)
    for spec, data, message in (
        ("inceptoin", images, "did you mean 'inception'"),
        ("inception", points, "are for images"),
        ("values", images, "use pixels"),
        ("classifier", points, "are for images"),
    ):
        with pytest.raises(InputError, match=message):
            find_extractor(spec, *data)
    assert "auto" in NAMES


def test_classifier_features() -> None:
    domain, source = open_data("digits")
    extract = find_extractor("classifier", domain, source)
    raw = source.take(torch.arange(100))
    features, logits = extract(raw)
    assert features.shape == (100, 128) and logits is not None
    assert float((logits.argmax(1) == raw["label"]).double().mean()) > 0.9


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra 'onnx')")
    onnx = pytest.importorskip("onnx", reason="needs onnx to make a network")
    entry = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 4, 4])
    leave = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("Flatten", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "flat", [entry], [leave])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "flat.onnx"
    onnx.save(model, path)
    domain, source = open_data("digits")
    extract = find_extractor(f"onnx:{path}", domain, source)
    raw = source.take(torch.arange(120))
    features, logits = extract(raw)
    assert logits is None and torch.allclose(features, resize(raw["data"], (4, 4)).flatten(1) / 255, atol=1e-6)
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read as an ONNX network"):
        find_extractor(f"onnx:{path}", domain, source)


def test_onnx_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"ganforge\[onnx\]"):
        find_extractor("onnx:x.onnx", *open_data("digits"))
