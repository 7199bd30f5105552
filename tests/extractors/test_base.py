import hashlib
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.extractors import Description, Extractor


class Small(Extractor):
    """A network with dropout, running statistics and a buffer outside of state dictionaries."""

    def __init__(self, resize: str = "none", layer: str = "") -> None:
        super().__init__("small", resize, layer)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)
        )
        self.register_buffer("shift", torch.ones(()), persistent=False)
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        features = self.layers(images.float() / 255) + self.shift
        return Description(features, 2 * features)


class Owner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(2, 2)
        self.extractors = nn.ModuleDict({"first": Small()})

    @property
    def extractor(self) -> Small:
        extractor = self.extractors["first"]
        assert isinstance(extractor, Small)
        return extractor


class Fixed(Extractor):
    """Answers what it is told."""

    def __init__(self, features: Tensor, logits: Tensor | None = None) -> None:
        super().__init__("fixed")
        self.answer = Description(features, logits)

    def describe(self, images: Tensor) -> Description:
        return self.answer


def images(n: int = 4) -> Tensor:
    return torch.randint(0, 256, (n, 3, 2, 2), dtype=torch.uint8)


def moved(module: nn.Module) -> None:
    """Change a module as training would."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data.add_(1)


def test_stays_in_evaluation_mode_although_its_owner_trains() -> None:
    owner, x = Owner(), images()
    first = owner.train().extractor(x)
    assert owner.own.training
    assert not any(module.training for module in owner.extractor.modules())
    before = deepcopy(dict(owner.extractor.named_buffers()))
    torch.testing.assert_close(owner.extractor(x), first, rtol=0, atol=0)
    torch.testing.assert_close(dict(owner.extractor.named_buffers()), before, rtol=0, atol=0)


def test_a_part_added_later_does_not_train_either() -> None:
    extractor, x = Small(), images()
    extractor.layers.append(nn.Dropout())
    torch.testing.assert_close(extractor(x), extractor(x), rtol=0, atol=0)


@pytest.mark.parametrize("cast", ["bfloat16", "half", "double"])
def test_stays_in_float32_when_its_owner_is_cast(cast: str) -> None:
    owner, x = Owner(), images()
    expected = owner.extractor(x)
    getattr(owner, cast)()
    assert owner.own.weight.dtype != torch.float32
    assert owner.extractor.layers[1].weight.dtype == torch.float32
    torch.testing.assert_close(owner.extractor(x), expected, rtol=0, atol=0)


def test_follows_its_owner_to_another_device() -> None:
    owner = Owner().to("meta", torch.bfloat16)
    found = {(p.device.type, p.dtype) for p in owner.extractor.parameters()}
    assert found == {("meta", torch.float32)}


def test_ignores_autocast_and_records_no_gradient() -> None:
    extractor, x = Small().requires_grad_(True), images()
    expected = extractor(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = extractor(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert found.features.dtype == torch.float32
    assert not found.features.requires_grad


def test_enters_no_checkpoint_and_keeps_its_weights_when_one_is_loaded() -> None:
    owner, other = Owner(), Owner()
    moved(other.extractor)
    state = deepcopy(owner.state_dict())
    assert set(state) == {"own.weight", "own.bias"}
    before = other.extractor.digest()
    other.load_state_dict(state)
    torch.testing.assert_close(other.own.weight, owner.own.weight, rtol=0, atol=0)
    assert other.extractor.digest() == before != owner.extractor.digest()


def test_a_copy_loads_a_checkpoint_like_the_original() -> None:
    owner = Owner()
    twin = deepcopy(owner)
    moved(owner)
    before = twin.extractor.digest()
    twin.load_state_dict(owner.state_dict(), assign=True)
    torch.testing.assert_close(twin.own.weight, owner.own.weight, rtol=0, atol=0)
    assert twin.extractor.digest() == before


def test_an_extractor_within_an_extractor_keeps_its_weights() -> None:
    owner = Owner()
    owner.extractor.layers.append(Owner())
    before = owner.extractor.digest()
    assert set(owner.state_dict()) == {"own.weight", "own.bias"}
    owner.load_state_dict(owner.state_dict())
    assert owner.extractor.digest() == before


def test_its_weights_cannot_be_replaced_unnoticed() -> None:
    extractor = Small()
    weights = {name: tensor + 1 for name, tensor in nn.Module.state_dict(extractor).items()}
    before = extractor.digest()
    with pytest.raises(RuntimeError, match="Unexpected key"):
        extractor.load_state_dict(weights)
    extractor.load_state_dict(weights, strict=False)
    extractor.load_state_dict(extractor.state_dict())
    assert extractor.digest() == before


def test_digest_is_a_sha256_that_calls_modes_and_copies_leave() -> None:
    extractor = Small()
    before = extractor.digest()
    assert len(bytes.fromhex(before)) == hashlib.sha256().digest_size
    extractor(images())
    extractor.train().bfloat16()
    assert extractor.digest() == deepcopy(extractor).digest() == before


def test_digest_is_that_of_every_extractor_alike() -> None:
    digests = []
    for _ in range(2):
        torch.manual_seed(1)
        digests.append(Small().digest())
    assert digests[0] == digests[1]


def nudged(extractor: Small) -> Small:
    extractor.layers.get_parameter("4.weight")[2, 3] += 1e-6
    return extractor


def other_statistics(extractor: Small) -> Small:
    extractor.layers.get_buffer("2.running_var")[1] = 0.5
    return extractor


def other_shift(extractor: Small) -> Small:
    extractor.get_buffer("shift").fill_(2)
    return extractor


def other_layer_type(extractor: Small) -> Small:
    extractor.layers[3] = nn.ReLU()
    return extractor


@pytest.mark.parametrize("change", [nudged, other_statistics, other_shift, other_layer_type])
def test_digest_changes_with_what_decides_the_answer(change: Any) -> None:
    extractor = Small()
    before = extractor.digest()
    assert change(extractor).digest() != before


def test_digest_changes_with_resizing_and_layer() -> None:
    digests = set()
    for arguments in [("none", ""), ("to 8", ""), ("none", "to 8"), ("none", "2")]:
        torch.manual_seed(1)
        digests.add(Small(*arguments).digest())
    assert len(digests) == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int8])
def test_refuses_images_that_are_no_bytes(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=rf"uint8 in \[0, 255\], got {dtype}\. .*to_uint8"):
        Small()(images().to(dtype))


@pytest.mark.parametrize("shape", [(3, 2, 2), (4, 12), (0, 3, 2, 2)])
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), got \(" + str(shape[0])):
        Small()(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(4,), (3, 5), (4, 5, 1, 1)])
def test_refuses_features_and_logits_of_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"'fixed' to return features \(4, d\), got \("):
        Fixed(torch.zeros(shape))(images())
    with pytest.raises(ValueError, match=r"'fixed' to return logits \(4, d\), got \("):
        Fixed(torch.zeros(4, 2), torch.zeros(shape))(images())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_features_and_logits_that_are_not_finite(value: float) -> None:
    good, bad = torch.zeros(4, 2), torch.zeros(4, 2)
    bad[3, 1] = value
    with pytest.raises(ValueError, match="finite features of the extractor 'fixed'"):
        Fixed(bad, good)(images())
    with pytest.raises(ValueError, match="finite logits of the extractor 'fixed'"):
        Fixed(good, bad)(images())
