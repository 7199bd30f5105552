"""The hinge GAN against a numpy formula, and on samples beyond its margin."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gan import HingeGAN
from lightning_gan.training.batch import Batch
from tests.toys import ToyData, flat, sgd, toy_trainer

REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)


def _model(**options: Any) -> HingeGAN:
    return HingeGAN(nn.Linear(3, 2), nn.Linear(2, 1), latent_dim=3, **options)


def test_terms_are_the_papers() -> None:
    model = _model()
    weight, bias = (p.detach().numpy().astype(np.float64) for p in model.discriminator.parameters())
    real, fake = (x.numpy().astype(np.float64) @ weight.T + bias for x in (REAL, FAKE))
    [d_term] = model.discriminator_loss(Batch(REAL), Batch(FAKE)).values()
    expected = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
    assert d_term.item() == pytest.approx(expected, rel=1e-5)
    [g_term] = model.generator_loss(Batch(REAL), Batch(FAKE)).values()
    assert g_term.item() == pytest.approx(-fake.mean(), rel=1e-5)


@pytest.mark.parametrize(("offset", "moves"), [(3.0, False), (0.5, True)])
def test_margin_stops_the_discriminator(offset: float, moves: bool, tmp_path: Path) -> None:
    """D(x) = x_1 judges real points at x_1 = offset and generated ones at -offset."""
    model = _model(optimizer_g=sgd, optimizer_d=sgd)
    for network, bias in ((model.generator, [-offset, 0.0]), (model.discriminator, [0.0])):
        nn.init.zeros_(network.weight)  # type: ignore[arg-type]
        network.bias = nn.Parameter(torch.tensor(bias))
    model.discriminator.weight = nn.Parameter(torch.tensor([[1.0, 0.0]]))
    before = flat(model.discriminator)
    real = torch.tensor([[offset, 0.0]]).expand(8, 2)
    trainer = toy_trainer(tmp_path, max_steps=1, log_every_n_steps=1)
    trainer.fit(model, ToyData(real))
    assert torch.equal(flat(model.discriminator), before) != moves
    expected = 2 * max(0.0, 1 - offset)
    assert trainer.callback_metrics["train/d_hinge"].item() == pytest.approx(expected)


def test_defaults() -> None:
    model = _model()
    assert model.n_critic == 1
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"HingeGAN has no argument 'real_target'\. .* GAN "):
        _model(real_target=0.9)
    with pytest.raises(TypeError, match=r"HingeGAN has no argument 'ncritic'\. .* 'n_critic'\?"):
        _model(ncritic=2)
