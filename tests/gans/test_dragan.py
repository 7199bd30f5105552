"""DRAGAN with a linear discriminator, of which everything is known in closed form."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from lightning_gan import DRAGAN
from lightning_gan.training import R1, Batch, DRAGANPenalty
from tests.toys import ToyData, sgd, toy_networks, toy_trainer

REAL, FAKE = torch.randn(600, 2) + 1, torch.randn(600, 2)
SLOPE = torch.tensor([3.0, 4.0])  # of norm 5


class Critic(nn.Module):
    """A linear discriminator that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(SLOPE.clone())
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x.detach())
        return x @ self.slope


def _model(**options: object) -> DRAGAN:
    return DRAGAN(nn.Linear(3, 2), Critic(), latent_dim=3, **options)  # type: ignore[arg-type]


def test_terms_of_a_linear_discriminator() -> None:
    terms = _model().discriminator_terms(Batch(REAL), Batch(FAKE), 0)
    expected = softplus(-(REAL @ SLOPE)).mean() + softplus(FAKE @ SLOPE).mean()
    torch.testing.assert_close(terms["adversarial"].detach(), expected, rtol=1e-5, atol=1e-5)
    assert terms["dragan"].item() == pytest.approx(10 * (5 - 1) ** 2, rel=1e-5)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_slopes_are_taken_around_the_real_samples(scale: float) -> None:
    """Moved by scale * std * a * u with a and u in [0, 1], of which the mean is a quarter."""
    model = _model(scale=scale)
    model.discriminator_terms(Batch(REAL), Batch(FAKE), 0)
    critic = model.discriminator
    assert isinstance(critic, Critic)
    moved = (critic.shown[-1] - REAL) / (scale * REAL.std(correction=0))
    assert moved.min() >= -1e-5
    assert moved.max() <= 1 + 1e-5
    assert moved.mean().item() == pytest.approx(0.25, abs=0.03)


def test_update_is_the_closed_form(tmp_path: Path) -> None:
    """With a generator of zeros, one step by gradient descent is known exactly."""
    model = _model(penalty_weight=0.5, optimizer_g=sgd, optimizer_d=sgd)
    for parameter in model.generator.parameters():
        nn.init.zeros_(parameter)
    toy_trainer(tmp_path, max_steps=1).fit(model, ToyData(REAL))
    adversarial = -(torch.sigmoid(-(REAL @ SLOPE))[:, None] * REAL).mean(0)
    gradient = adversarial + 0.5 * 2 * (5 - 1) * SLOPE / 5
    expected = SLOPE - 0.05 * gradient  # the rate of tests.toys.sgd
    [slope] = model.discriminator.parameters()
    torch.testing.assert_close(slope.detach(), expected, rtol=1e-5, atol=1e-6)


def test_defaults_are_the_documented_ones() -> None:
    model = _model(penalties=[R1()])
    assert model.n_critic == 1
    penalty, other = model.penalties
    assert isinstance(penalty, DRAGANPenalty)
    assert (penalty.weight, penalty.scale) == (10.0, 0.5)
    assert isinstance(other, R1)
    for optimizer in model.configure_optimizers()[0]:
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


def test_batch_normalisation_is_refused() -> None:
    norm = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with pytest.raises(ValueError, match=r"under the penalty 'dragan', got BatchNorm1d in '1'"):
        DRAGAN(nn.Linear(3, 2), norm, latent_dim=3)


def test_a_second_penalty_is_refused() -> None:
    with pytest.raises(ValueError, match="of different names, got 'dragan' twice"):
        DRAGAN(**toy_networks(), penalties=[DRAGANPenalty()])
