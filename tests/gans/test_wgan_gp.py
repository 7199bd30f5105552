"""WGAN-GP with a linear critic, of which everything is known in closed form."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_gan import WGANGP
from lightning_gan.training import R1
from lightning_gan.training.batch import Batch
from tests.toys import ToyData, sgd, toy_trainer

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
SLOPE = torch.tensor([[3.0, 4.0]])  # of norm 5


def _model(**options: object) -> WGANGP:
    critic = nn.Linear(2, 1, bias=False)
    critic.weight = nn.Parameter(SLOPE.clone())
    return WGANGP(nn.Linear(3, 2), critic, latent_dim=3, **options)  # type: ignore[arg-type]


def test_terms_of_a_linear_critic() -> None:
    model = _model()
    distance = ((REAL - FAKE) @ SLOPE.T).mean()
    d_terms = model.discriminator_loss(Batch(REAL), Batch(FAKE))
    torch.testing.assert_close(d_terms["wasserstein"], -distance, rtol=1e-5, atol=1e-5)
    g_terms = model.generator_loss(Batch(REAL), Batch(FAKE))
    expected = -(FAKE @ SLOPE.T).mean()
    torch.testing.assert_close(g_terms["wasserstein"], expected, rtol=1e-5, atol=1e-5)
    penalties = model.penalties.of_discriminator(model, Batch(REAL), Batch(FAKE), 0, 0)
    assert penalties["gradient_penalty"].item() == pytest.approx(10 * (5 - 1) ** 2)


def test_logged_estimate_and_update_are_the_closed_form(tmp_path: Path) -> None:
    """With a generator of zeros, one critic step by gradient descent is known exactly."""
    model = _model(n_critic=1, gp_weight=0.5, optimizer_g=sgd, optimizer_d=sgd)
    for parameter in model.generator.parameters():
        nn.init.zeros_(parameter)
    trainer = toy_trainer(tmp_path, max_steps=1, log_every_n_steps=1)
    trainer.fit(model, ToyData(REAL))
    estimate = (REAL @ SLOPE.T).mean()
    logged = trainer.callback_metrics["train/wasserstein"]
    torch.testing.assert_close(logged, estimate, rtol=1e-5, atol=1e-5)
    gradient = -REAL.mean(dim=0) + 0.5 * 2 * (5 - 1) * SLOPE[0] / 5
    expected = SLOPE[0] - 0.05 * gradient  # the rate of tests.toys.sgd
    torch.testing.assert_close(model.discriminator.weight[0].detach(), expected)  # type: ignore[index]


def test_defaults_are_the_papers() -> None:
    model = _model(penalties=[R1()])
    assert model.n_critic == 5
    assert [type(penalty).__name__ for penalty in model.penalties] == ["GradientPenalty", "R1"]
    for optimizer in model.configure_optimizers()[0]:
        assert optimizer.defaults["lr"] == 1e-4
        assert optimizer.defaults["betas"] == (0.0, 0.9)
