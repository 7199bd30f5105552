"""What a training's figures say of its samples."""

from typing import Any

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.stats import wasserstein_distance  # type: ignore[import-untyped]

from lightning_gan import GAN, WGANGP
from lightning_gan.lab import wasserstein
from lightning_gan.lab.experiment import Row
from lightning_gan.lab.wasserstein import METHODS, WassersteinSignal, transport_distance
from tests.toys import toy_networks

TINY: dict[str, Any] = {"steps": 6, "every_n_steps": 2, "batch_size": 8, "hidden": (8,)}


def test_distance_of_two_sets_on_a_line() -> None:
    """Between sets on a line the best plan sorts both, as scipy's oracle does."""
    real, fake = torch.randn(40).double(), 2 * torch.randn(40).double() + 1
    line = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    expected = wasserstein_distance(real.numpy(), fake.numpy())
    found = transport_distance(real[:, None] * line, fake[:, None] * line)
    assert found == pytest.approx(expected, rel=1e-9)


def test_distance_of_a_shifted_set_is_the_shift() -> None:
    points = torch.randn(30, 2)
    shifted = points[torch.randperm(30)] + torch.tensor([3.0, 4.0])
    assert transport_distance(points, shifted) == pytest.approx(5.0, rel=1e-6)


def test_points_of_both_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasserstein, "NUM_SAMPLES", 100)
    experiment = WassersteinSignal(**TINY)
    trials = list(experiment.trials())
    assert [trial["method"] for trial in trials] == list(METHODS)
    critic, plain = (experiment.measure(**trial)["points"] for trial in trials)
    assert [point["step"] for point in critic] == [2, 4, 6]
    assert critic[0].keys() == {"step", "distance", "high_quality", "train", "held_out"}
    assert plain[0].keys() == {"step", "distance", "high_quality", "d_loss", "g_loss"}
    assert 0.3 < critic[0]["distance"] < 1.5  # samples near the centre of a circle of radius 1


def test_signals_are_the_losses_alone() -> None:
    seen, held_out, fake = torch.randn(3, 10, 2)
    critic = WGANGP(**toy_networks())
    real, other, made = (critic.discriminator(x).mean().item() for x in (seen, held_out, fake))
    found = wasserstein._signals(critic, seen, held_out, fake)
    assert found == {
        "train": pytest.approx(real - made, abs=1e-6),
        "held_out": pytest.approx(other - made, abs=1e-6),
    }
    plain = GAN(**toy_networks())
    real_logits, logits = plain.discriminator(seen), plain.discriminator(fake)
    d_loss = (1 + (-real_logits).exp()).log().mean() + (1 + logits.exp()).log().mean()
    found = wasserstein._signals(plain, seen, held_out, fake)
    assert found["d_loss"] == pytest.approx(d_loss.item(), abs=1e-6)
    assert found["g_loss"] == pytest.approx((1 + (-logits).exp()).log().mean().item(), abs=1e-6)


def rows(signal: list[float], loss: list[float]) -> list[Row]:
    distances = [4.0, 3.0, 2.0, 1.0]
    steps = [
        {"step": i, "distance": distance, "high_quality": -distance}
        for i, distance in enumerate(distances)
    ]
    critic = [p | {"train": s, "held_out": s} for p, s in zip(steps, signal, strict=True)]
    plain = [p | {"d_loss": s, "g_loss": -s} for p, s in zip(steps, loss, strict=True)]
    made = zip(METHODS, (critic, plain), strict=True)
    return [{"method": method, "seed": 0, "points": points} for method, points in made]


@pytest.mark.parametrize(
    ("signal", "loss", "holds"),
    [
        ([9.0, 3.0, 2.5, 0.0], [1.0, 2.0, 1.0, 2.0], [True, True]),
        ([1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [False, False]),
    ],
)
def test_findings(signal: list[float], loss: list[float], holds: list[bool]) -> None:
    experiment = WassersteinSignal(**TINY)
    made = rows(signal, loss)
    assert [finding.holds for finding in experiment.findings(made)] == holds
    assert experiment.findings(made[:1]) == []
    FigureCanvasAgg(experiment.draw(made)).draw()
    lines = experiment.table(made).splitlines()
    assert len(lines) == 2 + 4
    if holds[0]:
        assert "| WGAN-GP | estimate, train | 0 | 0.93 | 1.00 | -1.00 |" in lines


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="'steps' to be at least three times 'every_n_steps'"):
        WassersteinSignal(steps=10, every_n_steps=5)
    with pytest.raises(ValueError, match="'seeds' to hold at least one"):
        WassersteinSignal(seeds=())
