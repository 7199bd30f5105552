import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from lightning_gan.extractors import Inception
from lightning_gan.extractors import inception as module

PUBLISHED = "6726825d" + 56 * "0"
LAYERS = ["2048", "logits_unbiased"]


@pytest.fixture(scope="module")
def theirs() -> FeatureExtractorInceptionV3:
    """Torch-fidelity's own network with random weights under which features do not vanish."""

    class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state_dict: Any) -> None:
            pass

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    torch.manual_seed(0)
    network = Unloaded("inception-v3-compat", LAYERS, feature_extractor_weights_path=nothing)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


Build = Callable[..., Inception]


@pytest.fixture
def build(
    theirs: FeatureExtractorInceptionV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Build:
    """Builds with those weights, without 95 MB on the disk."""
    file = tmp_path / "weights.pth"
    file.write_bytes(b"stands for the weights")

    def built(digest: str | None = None, **options: Any) -> Inception:
        if digest is not None:
            monkeypatch.setattr(module, "file_digest", lambda path: digest)
        monkeypatch.setattr(module, "read_weights", lambda *_: theirs.state_dict())
        return Inception(**{"weights": file} | options)

    return built


def images(channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (2, channels, 32, 32), dtype=torch.uint8)


def test_equals_torch_fidelity(build: Build, theirs: FeatureExtractorInceptionV3) -> None:
    x = images()
    features, logits = build()(x)
    expected = theirs(x)
    assert expected[0].std(dim=0).mean() > 1e-3
    torch.testing.assert_close((features, logits), expected, rtol=0, atol=0)
    assert (expected[0].shape, expected[1].shape) == ((2, 2048), (2, 1008))


@pytest.mark.parametrize("layer", ["64", pytest.param("192", marks=pytest.mark.slow)])
def test_earlier_layers_have_no_logits(
    build: Build,
    theirs: FeatureExtractorInceptionV3,
    layer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = images()
    extractor = build(PUBLISHED, layer=layer)
    features, logits = extractor(x)
    assert logits is None
    monkeypatch.setattr(theirs, "features_list", [layer])
    torch.testing.assert_close(features, theirs(x)[0], rtol=0, atol=0)
    assert extractor.name == f"inception-{layer}"
    assert not extractor.published


def test_only_published_weights_are_published(build: Build) -> None:
    extractor = build(PUBLISHED)
    assert extractor.published
    assert (extractor.name, extractor.layer) == ("inception", "2048")
    assert extractor.resize == "bilinear of TensorFlow 1 to 299"
    assert extractor.num_classes is None
    assert not any(p.requires_grad for p in extractor.parameters())


def test_other_weights_have_another_name(build: Build) -> None:
    extractor = build()
    start = hashlib.sha256(b"stands for the weights").hexdigest()[:8]
    assert extractor.name == f"inception-{start}"
    assert not extractor.published
    assert build(layer="768").name == f"inception-{start}-768"


def test_layers_have_digests_of_their_own(build: Build) -> None:
    assert build(layer="64").digest() != build(layer="192").digest()


def test_grey_images_become_three_equal_channels(build: Build) -> None:
    extractor, x = build(layer="64"), images(1)
    expected = extractor(torch.cat([x, x, x], dim=1))
    torch.testing.assert_close(extractor(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [2, 4])
def test_refuses_other_numbers_of_channels(build: Build, channels: int) -> None:
    with pytest.raises(ValueError, match=f"'inception-.*' to have 1 or 3 channels, got {channels}"):
        build(layer="64")(images(channels))


def test_draws_no_random_numbers(build: Build) -> None:
    before = torch.get_rng_state()
    build()
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)


def test_refuses_unknown_layers() -> None:
    with pytest.raises(ValueError, match=r"'layer' to be one of .*'2048'.*, got 'logits'"):
        Inception(layer="logits")  # type: ignore[arg-type]


def test_refuses_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(
            FileNotFoundError, match=f"'weights' to be the path of a file, got .*{path.name}"
        ):
            Inception(path)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code of the file ran",)


@pytest.mark.parametrize("content", [None, Evil(), [1, 2], {"fc.bias": "text"}])
def test_refuses_files_of_something_else(
    tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pth"
    if content is None:
        path.write_bytes(b"torn")
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"'weights' to be a file of a network's weights.*\.pth"):
        Inception(path)
    assert "ran" not in capsys.readouterr().out


def test_refuses_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    other = {"fc.weight": torch.zeros(10, 2048), "conv1.weight": torch.zeros(1), "b": torch.ones(1)}
    torch.save(other, path)
    with pytest.raises(
        ValueError,
        match=r"lacks Conv2d_1a_3x3\.conv\.weight and \d+ more, has the unknown conv1\.weight and "
        r"1 more, has fc\.weight of shape \(10, 2048\) instead of \(1008, 2048\)",
    ):
        Inception(path)


def test_a_failing_download_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*args: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        FileNotFoundError, match=r"no route.* Fetch https://.*6726825d\.pth .* as 'weights'"
    ):
        Inception()


def test_the_download_is_verified_and_kept(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    calls = []

    def download(url: str, target: str, digest: str) -> None:
        calls.append((Path(url).name, digest))
        Path(target).write_bytes(b"downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(ValueError, match=r"starts with 6726825d, got [0-9a-f]{8}\. Delete .*\.pth"):
        build(weights=None)
    assert build(PUBLISHED, weights=None).name == "inception"
    assert calls == [("weights-inception-2015-12-05-6726825d.pth", "6726825d")]
