"""The conditional GAN against torch's cross-entropy, with networks that depend on the class."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from lightning_gan import CGAN
from lightning_gan.training.batch import Batch
from tests.toys import NUM_CLASSES, ToyData, flat, points, toy_networks, toy_trainer

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


class _OfClass(nn.Module):
    """A linear map for each class."""

    def __init__(self, inputs: int, outputs: int, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.maps = nn.Parameter(torch.randn(num_classes, inputs, outputs))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels)
        return (x[:, None] @ self.maps[labels])[:, 0]


def _model(**options: Any) -> CGAN:
    return CGAN(_OfClass(3, 2), _OfClass(2, 1), latent_dim=3, **options)


def _logits(model: CGAN, samples: Tensor) -> Tensor:
    maps = model.discriminator.maps
    rows = [x @ maps[y] for x, y in zip(samples, LABELS, strict=True)]  # type: ignore[index]
    return torch.stack(rows)


@pytest.mark.parametrize(("b", "a"), [(1.0, 0.0), (0.9, 0.0), (0.8, 0.3)])
def test_terms_are_cross_entropies_given_the_class(b: float, a: float) -> None:
    model = _model(real_target=b, fake_target=a)
    real, fake = Batch(REAL, LABELS), Batch(FAKE, LABELS)
    real_logits, fake_logits = _logits(model, REAL), _logits(model, FAKE)
    [d_term] = model.discriminator_loss(real, fake).values()
    expected = cross_entropy(real_logits, torch.full((6, 1), b))
    expected = expected + cross_entropy(fake_logits, torch.full((6, 1), a))
    torch.testing.assert_close(d_term, expected, rtol=1e-5, atol=1e-5)
    [g_term] = model.generator_loss(real, fake).values()
    expected = cross_entropy(fake_logits, torch.ones(6, 1))
    torch.testing.assert_close(g_term, expected, rtol=1e-5, atol=1e-5)


def test_both_networks_are_told_the_classes_of_the_data(tmp_path: Path) -> None:
    model = _model(n_critic=2)
    data = ToyData((REAL, LABELS))
    toy_trainer(tmp_path, max_steps=1).fit(model, data)
    first, second = LABELS.split(3)
    # Two samples are tried before; then each discriminator update, then the generator's.
    expected = [LABELS[:2], first, second, second]
    assert [labels.tolist() for labels in _seen(model.generator)] == _lists(expected)
    expected = [LABELS[:2], first, first, second, second, second]
    assert [labels.tolist() for labels in _seen(model.discriminator)] == _lists(expected)


def _seen(network: nn.Module) -> list[Tensor]:
    assert isinstance(network, _OfClass)
    return network.seen


def _lists(labels: list[Tensor]) -> list[list[int]]:
    return [y.tolist() for y in labels]


def test_defaults() -> None:
    model = _model()
    assert model.num_classes == 3
    assert (model.n_critic, model.real_target, model.fake_target) == (1, 1.0, 0.0)
    assert model.generator_objective == "non_saturating"
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


@pytest.mark.parametrize("unconditional", ["generator", "discriminator"])
def test_unconditional_networks_are_refused(unconditional: str) -> None:
    networks = toy_networks(NUM_CLASSES) | {unconditional: toy_networks()[unconditional]}
    message = f"Expected a conditional '{unconditional}' for CGAN, .* got num_classes=None"
    with pytest.raises(ValueError, match=message):
        CGAN(**networks)


def test_networks_of_different_classes_are_refused() -> None:
    networks = toy_networks(4) | {"generator": toy_networks(3)["generator"]}
    message = r"same num_classes, got {'generator': 3, 'discriminator': 4}"
    with pytest.raises(ValueError, match=message):
        CGAN(**networks)


def test_data_without_labels_are_refused_before_training(tmp_path: Path) -> None:
    model = CGAN(**toy_networks(NUM_CLASSES))
    before = flat(model)
    message = r"\(images, labels\) for networks with num_classes=10, got images alone"
    with pytest.raises(ValueError, match=message):
        toy_trainer(tmp_path).fit(model, points())
    assert torch.equal(flat(model), before)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"CGAN has no argument 'num_classes'\.$"):
        _model(num_classes=3)
    with pytest.raises(TypeError, match=r"CGAN has no argument 'realtarget'\. .* 'real_target'\?"):
        _model(realtarget=0.9)
