import hashlib
import io
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from lightning_gan.extractors import PretrainedExtractor, pretrained_models


class Tiny(FeatureExtractorBase):  # type: ignore[misc]
    """Means of the channels, by weights that it reads as torch-fidelity's networks do."""

    INPUT_IMAGE_SIZE = 8

    def __init__(
        self, name: str, layers: list[str], feature_extractor_weights_path: Any = None
    ) -> None:
        super().__init__(name, layers)
        self.layer = nn.Linear(3, 2, bias=False)
        if feature_extractor_weights_path is not None:
            self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        means = self.layer(x.float().mean(dim=(2, 3)))
        return tuple({"linear": means, "relu": means.relu()}[layer] for layer in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "linear", "relu"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"fid": "relu"}[metric]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "tiny", Tiny)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save({"layer.weight": torch.tensor([[1.0, -2.0, 3.0], [-1.0, 0.0, 0.0]])}, path)
    return path


def images(channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (4, channels, 6, 6), dtype=torch.uint8)


def test_describes_by_the_layer_that_torch_fidelity_takes_for_fid(weights: Path) -> None:
    extractor, x = PretrainedExtractor("tiny", weights), images()
    features, logits = extractor(x)
    assert logits is None
    red, green, blue = x.float().mean(dim=(2, 3)).T
    expected = torch.stack([(red - 2 * green + 3 * blue).relu(), torch.zeros(4)], dim=1)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-3)
    start = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    assert (extractor.name, extractor.layer) == (f"tiny-{start}", "relu")
    assert extractor.resize == "bilinear of TensorFlow 1 to 8"
    assert not extractor.published
    assert not any(p.requires_grad for p in extractor.parameters())


def test_another_layer_is_named() -> None:
    extractor, x = PretrainedExtractor("tiny", layer="linear"), images()
    network = extractor.network
    assert isinstance(network, Tiny)
    expected = x.float().mean(dim=(2, 3)) @ network.layer.weight.T
    torch.testing.assert_close(extractor(x).features, expected, rtol=1e-5, atol=1e-3)
    assert extractor.name == "tiny-linear"


def test_layers_and_models_have_digests_of_their_own(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Tiny):
        pass

    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "other", Other)
    digests = {
        PretrainedExtractor(model, weights, layer).digest()
        for model in ("tiny", "other")
        for layer in ("linear", "relu", None)
    }
    assert len(digests) == 4


def test_grey_images_become_three_equal_channels(weights: Path) -> None:
    extractor, x = PretrainedExtractor("tiny", weights), images(1)
    expected = extractor(torch.cat([x, x, x], dim=1))
    torch.testing.assert_close(extractor(x), expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match="1 or 3 channels, got 4"):
        extractor(images(4))


def test_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    PretrainedExtractor("tiny")
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)


def test_knows_the_models_of_torch_fidelity() -> None:
    models = pretrained_models()
    assert {"tiny", "vgg16", "clip-vit-b-32", "dinov2-vit-b-14"} <= set(models)
    assert "inception-v3-compat" not in models
    for name in ("inception-v3-compat", "resnet"):
        with pytest.raises(ValueError, match=f"'model' to be one of .*'vgg16'.* got '{name}'"):
            PretrainedExtractor(name)


def test_refuses_unknown_layers() -> None:
    with pytest.raises(ValueError, match=r"'layer' of 'tiny' .* \('linear', 'relu'\), got '2048'"):
        PretrainedExtractor("tiny", layer="2048")


@pytest.mark.parametrize("model", ["clip-vit-b-32", "dinov2-vit-b-14"])
def test_without_internet_says_what_to_do(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XFORMERS_DISABLED", "1")  # which torch-fidelity sets for all that follows

    def offline(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    expected = f"'{model}' .* no (route|internet).* copy its folder of torch hub, .*hub here"
    with pytest.raises(FileNotFoundError, match=expected):
        PretrainedExtractor(model)


def test_what_comes_from_torch_hub_only_takes_no_file(weights: Path) -> None:
    with pytest.raises(ValueError, match=r"'weights' to be None for 'dinov2-vit-b-14'.* torch hub"):
        PretrainedExtractor("dinov2-vit-b-14", weights)


def test_refuses_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"a file of 'tiny', got .*weights\.pth: RuntimeError.*fc"):
        PretrainedExtractor("tiny", path)


def test_a_file_of_a_network_with_its_code_is_left_to_torch_fidelity(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"a file of 'clip-vit-b-32', got .*KeyError"):
        PretrainedExtractor("clip-vit-b-32", path)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code of the file ran",)


def test_runs_no_code_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"layer.weight": Evil()}, path)
    with pytest.raises(ValueError, match="'weights' to be a file of a network's weights"):
        PretrainedExtractor("tiny", path)
    assert "ran" not in capsys.readouterr().out


def test_refuses_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'weights' to be the path of a file, got .*none"):
        PretrainedExtractor("tiny", tmp_path / "none.pth")
