"""The non-saturating GAN against torch's own cross-entropy."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from lightning_gan import GAN

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)


def _model() -> GAN:
    torch.manual_seed(1)
    return GAN(nn.Linear(3, 2), nn.Linear(2, 1), latent_dim=3)


def test_losses_are_cross_entropies() -> None:
    model = _model()
    real_logits, fake_logits = model.discriminator(REAL), model.discriminator(FAKE)
    ones, zeros = torch.ones(6, 1), torch.zeros(6, 1)
    d_terms = model.discriminator_loss(REAL, FAKE, None)
    g_terms = model.generator_loss(REAL, FAKE, None)
    expected = cross_entropy(real_logits, ones) + cross_entropy(fake_logits, zeros)
    torch.testing.assert_close(d_terms["adversarial"], expected, rtol=1e-6, atol=1e-6)
    expected = cross_entropy(fake_logits, ones)
    torch.testing.assert_close(g_terms["adversarial"], expected, rtol=1e-6, atol=1e-6)


def test_optimisers_are_those_of_dcgan() -> None:
    optimizers, schedulers = _model().configure_optimizers()
    for optimizer in optimizers:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)
    assert schedulers == []
