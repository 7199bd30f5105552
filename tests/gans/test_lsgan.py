"""LSGAN against torch's mean squared error."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from lightning_gan import LSGAN
from lightning_gan.training.batch import Batch

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)


def _model(**options: Any) -> LSGAN:
    return LSGAN(nn.Linear(3, 2), nn.Linear(2, 1), latent_dim=3, **options)


@pytest.mark.parametrize("targets", [None, (0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (3.0, -2.0, 0.5)])
def test_terms_are_half_squared_errors(targets: tuple[float, float, float] | None) -> None:
    names = ("fake_target", "real_target", "generator_target")  # the paper's a, b and c
    model = _model(**({} if targets is None else dict(zip(names, targets, strict=True))))
    a, b, c = targets or (0.0, 1.0, 1.0)
    real, fake = model.discriminator(REAL), model.discriminator(FAKE)
    [d_term] = model.discriminator_loss(Batch(REAL), Batch(FAKE)).values()
    expected = 0.5 * mse_loss(real, torch.full((6, 1), b))
    expected += 0.5 * mse_loss(fake, torch.full((6, 1), a))
    torch.testing.assert_close(d_term, expected, rtol=1e-6, atol=1e-6)
    [g_term] = model.generator_loss(Batch(REAL), Batch(FAKE)).values()
    expected = 0.5 * mse_loss(fake, torch.full((6, 1), c))
    torch.testing.assert_close(g_term, expected, rtol=1e-6, atol=1e-6)


def test_codings_meet_at_the_papers_optimum() -> None:
    """Where both distributions are one, D = (a + b) / 2 minimises the loss at ((b - a) / 2)^2."""
    for a, b in ((0.0, 1.0), (-1.0, 1.0)):
        model = _model(fake_target=a, real_target=b)
        nn.init.zeros_(model.discriminator.weight)  # type: ignore[arg-type]
        nn.init.constant_(model.discriminator.bias, (a + b) / 2)  # type: ignore[arg-type]
        [term] = model.discriminator_loss(Batch(REAL), Batch(REAL)).values()
        assert term.item() == pytest.approx(((b - a) / 2) ** 2)
        term.backward()  # type: ignore[no-untyped-call, unused-ignore]
        for parameter in model.discriminator.parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(
                parameter.grad, torch.zeros_like(parameter), rtol=0, atol=1e-6
            )


def test_defaults() -> None:
    model = _model()
    assert model.n_critic == 1
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


def test_equal_targets_are_refused() -> None:
    message = "Expected 'real_target' and 'fake_target' to differ, got 0.5 twice"
    with pytest.raises(ValueError, match=message):
        _model(real_target=0.5, fake_target=0.5)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"LSGAN has no argument 'label_smoothing'\. .* GAN "):
        _model(label_smoothing=0.1)
    with pytest.raises(TypeError, match=r"Did you mean 'generator_target'\?"):
        _model(generator_targt=1.0)
