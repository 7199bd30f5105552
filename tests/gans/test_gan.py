"""The cross-entropy GAN against torch's own cross-entropy and gradients in closed form."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from lightning_gan import GAN
from lightning_gan.training.batch import Batch

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)


def _model(**options: Any) -> GAN:
    torch.manual_seed(1)
    return GAN(nn.Linear(3, 2), nn.Linear(2, 1), latent_dim=3, **options)


@pytest.mark.parametrize(("b", "a"), [(None, None), (0.9, 0.0), (0.9, 0.1), (1.0, 0.3)])
def test_losses_are_cross_entropies(b: float | None, a: float | None) -> None:
    model = _model() if b is None else _model(real_target=b, fake_target=a)
    real_logits, fake_logits = model.discriminator(REAL), model.discriminator(FAKE)
    real_target, fake_target = (torch.full((6, 1), t) for t in (b or 1.0, a or 0.0))
    d_terms = model.discriminator_loss(Batch(REAL), Batch(FAKE))
    g_terms = model.generator_loss(Batch(REAL), Batch(FAKE))
    expected = cross_entropy(real_logits, real_target) + cross_entropy(fake_logits, fake_target)
    torch.testing.assert_close(d_terms["adversarial"], expected, rtol=1e-6, atol=1e-6)
    expected = cross_entropy(fake_logits, torch.ones(6, 1))  # which smoothing leaves alone
    torch.testing.assert_close(g_terms["adversarial"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("objective", ["non_saturating", "minimax"])
@pytest.mark.parametrize("offset", [-8.0, 0.0, 8.0])
def test_gradient_of_each_objective(objective: str, offset: float) -> None:
    """By a logit s it is -sigmoid(s) for minimax, which vanishes where samples are rejected."""
    model = _model(generator_objective=objective)
    nn.init.constant_(model.discriminator.bias, offset)  # type: ignore[arg-type]
    fake = FAKE.clone().requires_grad_()
    loss = model.generator_loss(Batch(REAL), Batch(fake))["adversarial"]
    [gradient] = torch.autograd.grad(loss, fake)
    weight = model.discriminator.weight
    logits = model.discriminator(FAKE).detach()
    by_logit = logits.sigmoid() if objective == "minimax" else (-logits).sigmoid()
    torch.testing.assert_close(gradient, -by_logit / 6 * weight, rtol=1e-4, atol=1e-7)
    expected = -cross_entropy(logits, torch.zeros(6, 1))
    if objective == "minimax":
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-6)


def test_defaults_are_those_of_dcgan() -> None:
    model = _model()
    assert (model.n_critic, model.generator_objective) == (1, "non_saturating")
    optimizers, schedulers = model.configure_optimizers()
    for optimizer in optimizers:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)
    assert schedulers == []


@pytest.mark.parametrize(
    ("real", "fake"), [(0.5, 0.5), (0.1, 0.9), (1.1, 0.0), (1.0, -0.1), (float("nan"), 0.0)]
)
def test_targets_out_of_order_are_refused(real: float, fake: float) -> None:
    message = f"0 <= 'fake_target' < 'real_target' <= 1, got {fake} and {real}"
    with pytest.raises(ValueError, match=message):
        _model(real_target=real, fake_target=fake)


def test_unknown_objectives_are_refused() -> None:
    message = r"'generator_objective' to be one of \['non_saturating', 'minimax'\], got 'mean'"
    with pytest.raises(ValueError, match=message):
        _model(generator_objective="mean")


def test_unknown_arguments_are_refused() -> None:
    message = r"GAN has no argument 'label_smoothing'\. .* have 'real_target' and 'fake_target'"
    with pytest.raises(TypeError, match=message):
        _model(label_smoothing=0.1)
    with pytest.raises(TypeError, match=r"GAN has no argument 'penaltys'\. .* 'penalties'\?"):
        _model(penaltys=[])
