"""The least-squares ProGAN: its noise against the formula, by hand."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from lightning_gan import LSGAN, ProGANLS
from lightning_gan.networks import ProGANDiscriminator, ProGANGenerator
from lightning_gan.training import GANAdam
from lightning_gan.training.batch import Batch
from tests.toys import toy_networks


def _model(**options: Any) -> ProGANLS:
    sizes: dict[str, Any] = {"image_size": 8, "image_channels": 1, "fmap_base": 16, "fmap_max": 4}
    return ProGANLS(
        ProGANGenerator(4, **sizes),
        ProGANDiscriminator(**sizes),
        **options,
    )


def _batch(level: float, n: int = 4) -> Batch:
    return Batch(torch.full((n, 1, 8, 8), level))


def test_noise_follows_the_mean_output_for_generated_samples() -> None:
    model = _model(noise=0.4)
    level = 0.0
    for mean in (0.9, 1.7, 0.8, 2.0, -3.0, *[1.0] * 8):
        answers = torch.tensor([mean - 0.2, mean + 0.2])

        def outputs(batch: Batch, answers: Tensor = answers) -> Tensor:
            return answers if batch.samples.mean() < 0 else torch.full((2,), 100.0)

        with patch.object(model, "_joint_pass", False), patch.object(model, "outputs", outputs):
            model.discriminator_loss(_batch(1.0, 2), _batch(-1.0, 2))
        level = 0.9 * level + 0.1 * min(max(mean, 0.0), 1.0)
        strength = 0.4 * max(level - 0.5, 0.0) ** 2
        found = model.noise.strength
        torch.testing.assert_close(found, torch.tensor(strength), rtol=1e-5, atol=1e-7)
    assert strength > 0


def test_losses_are_those_of_lsgan() -> None:
    torch.manual_seed(0)
    model = _model()
    plain = LSGAN(model.generator, model.discriminator)
    real, fake = _batch(0.3), _batch(-0.6)
    for loss in ("discriminator_loss", "generator_loss"):
        assert getattr(model, loss)(real, fake) == getattr(plain, loss)(real, fake)


def test_rehearsals_and_validation_leave_the_noise_alone() -> None:
    model = _model()
    with model.rehearsal():
        model.discriminator_loss(_batch(0.3), _batch(-0.6))
    model.fake_level.fill_(0.7)
    with model.rehearsal(), patch.object(model, "record"):
        model.discriminator_loss(_batch(0.3), _batch(-0.6))
        model.eval().discriminator_loss(_batch(0.3), _batch(-0.6))
    assert model.fake_level == torch.tensor(0.7)
    assert model.noise.strength == 0


def test_defaults_are_the_paper_s() -> None:
    [optimizer_g, optimizer_d], _ = _model().configure_optimizers()
    for optimizer in (optimizer_g, optimizer_d):
        assert isinstance(optimizer, GANAdam)
        assert optimizer.defaults["lr"] == 1e-3
        assert optimizer.defaults["betas"] == (0.0, 0.99)


def test_noise_must_be_positive() -> None:
    with pytest.raises(ValueError, match="Expected 'noise' to be positive or None, got -1"):
        ProGANLS(**toy_networks(), noise=-1)
