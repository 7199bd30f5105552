"""WGAN with a linear critic, of which everything is known in closed form; and its clipping."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan import WGAN
from lightning_gan.training.batch import Batch
from tests.toys import ToyData, flat, points, sgd, toy_networks, toy_trainer

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)
SLOPE = torch.tensor([[3.0, 4.0]])


def _model(**options: Any) -> WGAN:
    critic = nn.Linear(2, 1, bias=False)
    critic.weight = nn.Parameter(SLOPE.clone())
    return WGAN(nn.Linear(3, 2), critic, latent_dim=3, **options)


def test_terms_of_a_linear_critic() -> None:
    model = _model()
    d_terms = model.discriminator_loss(Batch(REAL), Batch(FAKE))
    expected = ((FAKE - REAL) @ SLOPE.T).mean()
    torch.testing.assert_close(d_terms["wasserstein"], expected, rtol=1e-5, atol=1e-5)
    g_terms = model.generator_loss(Batch(REAL), Batch(FAKE))
    expected = -(FAKE @ SLOPE.T).mean()
    torch.testing.assert_close(g_terms["wasserstein"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bound", [None, 3.5, 0.01])
def test_one_step_is_the_closed_form(bound: float | None, tmp_path: Path) -> None:
    """With a generator of zeros, the critic's gradient is minus the mean of the data."""
    model = _model(n_critic=1, weight_clip_val_d=bound, optimizer_g=sgd, optimizer_d=sgd)
    for parameter in model.generator.parameters():
        nn.init.zeros_(parameter)
    trainer = toy_trainer(tmp_path, max_steps=1, log_every_n_steps=1)
    trainer.fit(model, ToyData(REAL))
    stepped = SLOPE + 0.05 * REAL.mean(dim=0)  # the rate of tests.toys.sgd
    clipped = stepped if bound is None else stepped.clip(-bound, bound)
    torch.testing.assert_close(model.discriminator.weight, nn.Parameter(clipped))
    # The logged estimate is that of the weights before the step.
    logged = trainer.callback_metrics["train/wasserstein"]
    torch.testing.assert_close(logged, (REAL @ SLOPE.T).mean(), rtol=1e-5, atol=1e-5)
    # The generator's bias is moved along the clipped slope.
    bias = model.generator.bias
    assert isinstance(bias, nn.Parameter)
    torch.testing.assert_close(bias.detach(), 0.05 * clipped[0], rtol=1e-5, atol=1e-7)


def test_critic_alone_stays_in_the_box(tmp_path: Path) -> None:
    model = WGAN(**toy_networks())
    initial = flat(model.generator)
    toy_trainer(tmp_path, max_steps=3).fit(model, points())
    bound = torch.tensor(0.01)
    weights = flat(model.discriminator)
    assert weights.abs().max() == bound
    assert (weights.abs() == bound).sum() > 1
    assert (weights.abs() < bound).any()
    assert flat(model.generator).abs().max() > 10 * bound
    assert not torch.equal(flat(model.generator), initial)


def test_defaults_are_the_papers() -> None:
    model = _model()
    assert model.n_critic == 5
    assert model.weight_clip_val_d == 0.01
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.RMSprop)
        assert optimizer.defaults["lr"] == 5e-5
        assert optimizer.defaults["momentum"] == 0


def test_bounds_that_are_not_positive_are_refused() -> None:
    for bound in (0.0, -1.0, float("nan")):
        message = f"Expected 'weight_clip_val_d' to be positive or None, got {bound}"
        with pytest.raises(ValueError, match=message):
            _model(weight_clip_val_d=bound)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"WGAN has no argument 'fake_target'\. .* GAN "):
        _model(fake_target=0.1)
    with pytest.raises(TypeError, match=r"Did you mean 'weight_clip_val_d'\?"):
        _model(weight_clip_val=0.1)
