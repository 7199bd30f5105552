import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from lightning_gan.diagnostics import clipped_share, logit_figures
from lightning_gan.functional import clip_weights_


def rounded_logits(n: int, mean: float) -> Tensor:
    """Return logits among which there are ties."""
    return (2 * (torch.randn(n) + mean)).round() / 2


@pytest.mark.parametrize("mean", [-1.0, 0.0, 2.0])
def test_accuracy_is_the_area_under_the_roc_curve(mean: float) -> None:
    real, fake = rounded_logits(50, mean), rounded_logits(30, 0.0)
    expected = roc_auc_score([1] * 50 + [0] * 30, torch.cat([real, fake]).numpy())
    assert 0.05 < expected < 0.99
    assert logit_figures(real, fake)["accuracy"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("real", "fake", "accuracy"), [([5.0, 4.0], [3.0, -9.0], 1.0), ([1.0, 1.0], [1.0], 0.5)]
)
def test_accuracy_at_its_ends(real: list[float], fake: list[float], accuracy: float) -> None:
    assert logit_figures(torch.tensor(real), torch.tensor(fake))["accuracy"] == accuracy


def test_distributions_are_those_of_numpy() -> None:
    real, fake = torch.randn(60) + 1, 3 * torch.randn(41)
    figures = logit_figures(real, fake)
    for name, logits in (("real", real.numpy()), ("fake", fake.numpy())):
        expected = {
            "mean": logits.mean(dtype=np.float64),
            "std": logits.std(dtype=np.float64),
            **{f"q{p:02}": np.percentile(logits.astype(np.float64), p) for p in (5, 50, 95)},
        }
        actual = {key: figures[f"{name}_logit_{key}"] for key in expected}
        assert actual == pytest.approx(expected, rel=1e-6)
    distance = float(real.mean() - fake.mean())
    assert figures["wasserstein"] == pytest.approx(distance, rel=1e-5)


def test_of_a_map_the_mean_counts() -> None:
    real, fake, held_out = torch.randn(20, 3, 4) + 3, torch.randn(10, 3, 4), torch.randn(8, 3, 4)
    means = [logits.mean(dim=(1, 2)) for logits in (real, fake, held_out)]
    assert logit_figures(real, fake, held_out) == pytest.approx(logit_figures(*means), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_overfitting_tells_how_far_held_out_samples_fell(share: float) -> None:
    real, fake = 4 + torch.randn(100), torch.randn(100)
    gap = real.mean() - fake.mean()
    held_out = real - share * gap
    assert logit_figures(real, fake, held_out)["overfitting"] == pytest.approx(share, abs=1e-5)


def test_overfitting_needs_a_gap_of_five_standard_errors() -> None:
    noise = torch.randn(200)
    noise = (noise - noise.mean()) / noise.std(correction=0)
    error = (2 / 200) ** 0.5
    for errors, known in ((5.1, True), (4.9, False), (-8.0, False)):
        assert ("overfitting" in logit_figures(noise + errors * error, noise, noise)) == known
    assert "overfitting" not in logit_figures(noise + 9, noise)


def test_constant_logits_are_no_failure() -> None:
    same = torch.zeros(7)
    figures = logit_figures(same, same, same)
    assert figures["accuracy"] == 0.5
    assert "overfitting" not in figures
    assert all(figure == 0 for name, figure in figures.items() if name != "accuracy")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_clipped_share_counts_the_weights_at_the_bound(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 1)).to(dtype)
    weights = np.concatenate([p.detach().double().flatten() for p in network.parameters()])
    bound = 0.1
    assert clipped_share(network, 10.0) == 0
    clip_weights_(network, bound)
    expected = (np.abs(weights) >= float(torch.tensor(bound, dtype=dtype))).mean()
    assert 0.2 < expected < 0.8
    assert clipped_share(network, bound) == pytest.approx(expected, abs=1e-12)
