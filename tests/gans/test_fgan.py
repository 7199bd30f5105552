"""f-GAN against the paper's table, composed in numpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lightning_gan import FGAN
from lightning_gan.functional import Divergence
from lightning_gan.training.batch import Batch
from tests.toys import points, toy_networks, toy_trainer

Array = NDArray[np.float64]
REAL, FAKE = torch.randn(6, 2), torch.randn(6, 2)

# Output activations g_f and conjugates f* of tables 2 and 6, in the paper's own form.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "kl": lambda v: v,
    "reverse_kl": lambda v: -np.exp(-v),
    "pearson": lambda v: v,
    "neyman": lambda v: 1 - np.exp(-v),
    "squared_hellinger": lambda v: 1 - np.exp(-v),
    "jensen_shannon": lambda v: np.log(2) - np.log(1 + np.exp(-v)),
    "gan": lambda v: -np.log(1 + np.exp(-v)),
}
CONJUGATES: dict[str, Callable[[Array], Array]] = {
    "kl": lambda t: np.exp(t - 1),
    "reverse_kl": lambda t: -1 - np.log(-t),
    "pearson": lambda t: t**2 / 4 + t,
    "neyman": lambda t: 2 - 2 * np.sqrt(1 - t),
    "squared_hellinger": lambda t: t / (1 - t),
    "jensen_shannon": lambda t: -np.log(2 - np.exp(t)),
    "gan": lambda t: -np.log(1 - np.exp(t)),
}
every_divergence = pytest.mark.parametrize("divergence", get_args(Divergence))


def _model(**options: Any) -> FGAN:
    return FGAN(nn.Linear(3, 2), nn.Linear(2, 1), latent_dim=3, **options)


@every_divergence
@pytest.mark.parametrize("objective", ["non_saturating", "minimax"])
def test_terms_are_the_papers(divergence: str, objective: str) -> None:
    model = _model(divergence=divergence, generator_objective=objective)
    weight, bias = (p.detach().numpy().astype(np.float64) for p in model.discriminator.parameters())
    real, fake = (x.numpy().astype(np.float64) @ weight.T + bias for x in (REAL, FAKE))
    g, f_star = ACTIVATIONS[divergence], CONJUGATES[divergence]
    [d_term] = model.discriminator_loss(Batch(REAL), Batch(FAKE)).values()
    assert d_term.item() == pytest.approx(f_star(g(fake)).mean() - g(real).mean(), rel=1e-4)
    [g_term] = model.generator_loss(Batch(REAL), Batch(FAKE)).values()
    expected = -g(fake).mean() if objective == "non_saturating" else -f_star(g(fake)).mean()
    assert g_term.item() == pytest.approx(expected, rel=1e-4)


@every_divergence
def test_bound_is_logged(divergence: str, tmp_path: Path) -> None:
    model = FGAN(**toy_networks(), divergence=divergence)  # type: ignore[arg-type]
    trainer = toy_trainer(tmp_path, log_every_n_steps=1, max_steps=1)
    trainer.fit(model, points())
    logged = trainer.callback_metrics
    assert logged["train/divergence"] == -logged["train/d_divergence"]
    assert logged["train/divergence"] != 0


def test_defaults() -> None:
    model = _model()
    assert model.n_critic == 1
    assert (model.divergence, model.generator_objective) == ("kl", "non_saturating")
    for optimizer in model.configure_optimizers()[0]:
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.5, 0.999)


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'divergence' to be one of \['kl', .*got 'tv'"):
        _model(divergence="tv")
    message = r"'generator_objective' to be one of \['non_saturating', 'minimax'\], got 'max'"
    with pytest.raises(ValueError, match=message):
        _model(generator_objective="max")


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"FGAN has no argument 'real_target'\. .* GAN "):
        _model(real_target=0.9)
    with pytest.raises(TypeError, match=r"FGAN has no argument 'divergance'\. .* 'divergence'\?"):
        _model(divergance="kl")
