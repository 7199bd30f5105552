"""The projection discriminator composed by hand from its effective weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_gan import ProjectionGAN
from lightning_gan.networks import (
    DCGANGenerator,
    MLPDiscriminator,
    MultiScaleDiscriminator,
    PatchDiscriminator,
)
from lightning_gan.training.batch import Batch
from tests.toys import NUM_CLASSES, flat, labelled, points, sgd, toy_networks, toy_trainer

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
REAL_LABELS, FAKE_LABELS = torch.tensor([0, 1, 2, 2, 1, 9]), torch.tensor([2, 2, 2, 1, 0, 0])


def _networks(num_classes: int = NUM_CLASSES) -> dict[str, Any]:
    return toy_networks(num_classes, conditioning="projection")


def _logits(discriminator: nn.Module, samples: Tensor, labels: Tensor) -> Tensor:
    """Compute <e_y, phi(x)> + l(phi(x)), one sample after the other."""
    assert isinstance(discriminator, MLPDiscriminator)
    linear, embedding = discriminator.head.linear, discriminator.head.embedding
    assert isinstance(linear, nn.Linear)
    assert isinstance(embedding, nn.Embedding)
    features = discriminator.layers(samples)
    logits = [
        embedding.weight[label] @ phi + linear.weight[0] @ phi + linear.bias[0]
        for phi, label in zip(features, labels, strict=True)
    ]
    return torch.stack(logits)


def test_terms_are_hinges_of_projections() -> None:
    model = ProjectionGAN(**_networks()).eval()  # in which no power iteration changes the weights
    model.training = True  # so that nothing asks for a trainer
    real, fake = Batch(REAL, REAL_LABELS), Batch(FAKE, FAKE_LABELS)
    real_logits = _logits(model.discriminator, REAL, REAL_LABELS)
    fake_logits = _logits(model.discriminator, FAKE, FAKE_LABELS)
    [d_term] = model.discriminator_loss(real, fake).values()
    expected = (1 - real_logits).clip(min=0).mean() + (1 + fake_logits).clip(min=0).mean()
    torch.testing.assert_close(d_term, expected, rtol=1e-5, atol=1e-5)
    [g_term] = model.generator_loss(real, fake).values()
    torch.testing.assert_close(g_term, -fake_logits.mean(), rtol=1e-5, atol=1e-5)
    others = _logits(model.discriminator, FAKE, FAKE_LABELS.flip(0))
    assert not torch.isclose(others, fake_logits, rtol=1e-2).all()


def test_class_vectors_are_normalised_together(tmp_path: Path) -> None:
    model = ProjectionGAN(**_networks(), optimizer_d=sgd)
    toy_trainer(tmp_path, max_steps=20).fit(model, labelled(points()))
    head = model.discriminator.eval().head
    with torch.no_grad():
        norms = [torch.linalg.svdvals(m.weight)[0] for m in (head.linear, head.embedding)]  # type: ignore[union-attr]
    torch.testing.assert_close(torch.stack(norms), torch.ones(2), rtol=0, atol=0.02)


def test_defaults_are_the_papers() -> None:
    model = ProjectionGAN(**_networks())
    assert model.n_critic == 5
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.0, 0.9)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (toy_networks(), "Expected a conditional 'generator' for ProjectionGAN"),
        (
            _networks() | {"discriminator": MLPDiscriminator()},
            "Expected a conditional 'discriminator' for ProjectionGAN",
        ),
        (
            _networks(4) | {"generator": _networks(3)["generator"]},
            r"same num_classes, got {'generator': 3, 'discriminator': 4}",
        ),
        (toy_networks(3), r"conditioning='projection' for ProjectionGAN, got 'concat'"),
    ],
)
def test_networks_that_do_not_fit_are_refused(networks: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProjectionGAN(**networks)


def test_data_without_labels_are_refused_before_training(tmp_path: Path) -> None:
    model = ProjectionGAN(**_networks())
    before = flat(model)
    message = r"\(images, labels\) for networks with num_classes=10, got images alone"
    with pytest.raises(ValueError, match=message):
        toy_trainer(tmp_path).fit(model, points())
    assert torch.equal(flat(model), before)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"ProjectionGAN has no argument 'real_target'\. .* GAN "):
        ProjectionGAN(**_networks(), real_target=0.9)
    with pytest.raises(TypeError, match=r"Did you mean 'n_critic'\?"):
        ProjectionGAN(**_networks(), n_critics=2)


def test_labels_at_the_input_of_other_discriminators_are_refused() -> None:
    generator = DCGANGenerator(image_size=16, image_channels=1, base_channels=4, num_classes=3)
    patches = PatchDiscriminator(1, base_channels=4, num_layers=1, num_classes=3)
    for discriminator in (patches, MultiScaleDiscriminator([patches])):
        with pytest.raises(ValueError, match=r"conditioning='projection'.* got 'concat'"):
            ProjectionGAN(generator, discriminator)
