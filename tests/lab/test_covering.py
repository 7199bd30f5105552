"""KL covers, reverse KL seeks: the exact fits, and f-GAN for a few steps."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from lightning_gan.lab import Row
from lightning_gan.lab import covering as module
from lightning_gan.lab.covering import NAMES, Covering, Gaussian, TwoModes


def place(mean: float, std: float) -> torch.Tensor:
    return torch.tensor([mean, math.log(std)], dtype=torch.float64)


def integral(name: str, mean: float, std: float) -> float:
    """Return a divergence of the default mixture and a Gaussian, summed in numpy."""
    x = np.linspace(-20, 20, 200_001)

    def normal(m: float, s: float) -> Any:
        return np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi)) + 1e-300

    p, q = 0.75 * normal(-1.5, 0.5) + 0.25 * normal(1.5, 0.5), normal(mean, std)
    middle = (p + q) / 2
    integrand = {
        "kl": p * np.log(p / q),
        "reverse_kl": q * np.log(q / p),
        "jensen_shannon": 0.5 * (p * np.log(p / middle) + q * np.log(q / middle)),
        "squared_hellinger": (np.sqrt(p) - np.sqrt(q)) ** 2,
    }[name]
    return float(integrand.sum() * (x[1] - x[0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-1.5, 0.5), (0.7, 2.0)])
def test_divergences_are_integrals(name: str, mean: float, std: float) -> None:
    value = Covering()._divergence(name)(place(mean, std)).item()
    assert value == pytest.approx(integral(name, mean, std), rel=1e-5)


def test_kl_has_the_moments_of_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 400)
    row = Covering().measure(by="descent", divergence="kl")
    assert row["mean"] == pytest.approx(-0.75, abs=1e-3)
    assert row["std"] == pytest.approx(math.sqrt(0.25 + 0.75 * 0.25 * 9), abs=1e-3)
    assert row["value"] == pytest.approx(integral("kl", row["mean"], row["std"]), rel=1e-5)


def test_reverse_kl_sits_on_the_larger_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 500)
    row = Covering(start_std=0.5).measure(by="descent", divergence="reverse_kl")
    assert (row["mean"], row["std"]) == pytest.approx((-1.5, 0.5), abs=0.02)


def test_f_gan_is_trained_and_comes_out_the_same_twice() -> None:
    experiment = Covering(steps=3, batch_size=16, n_critic=2)
    first = experiment.measure(by="f-GAN", divergence="reverse_kl", seed=1)
    assert first["mean"] != 0
    assert first["value"] == pytest.approx(
        integral("reverse_kl", first["mean"], first["std"]), rel=1e-4
    )
    torch.rand(7)
    assert experiment.measure(by="f-GAN", divergence="reverse_kl", seed=1) == first
    assert experiment.measure(by="f-GAN", divergence="reverse_kl", seed=2) != first


def test_data_and_generator() -> None:
    data = TwoModes(Covering()._mixture(), 10, seed=0)
    data.load()
    points = data.train_set.samples
    assert points.shape == (100_000, 1)
    mean, std = Covering()._moments()
    assert points.mean().item() == pytest.approx(mean, abs=0.02)
    assert points.std().item() == pytest.approx(std, abs=0.02)
    torch.testing.assert_close(Gaussian(2.0, 3.0)(torch.tensor([[-1.0]])), torch.tensor([[-1.0]]))


def fits(**changed: tuple[float, float]) -> list[Row]:
    """Return a descent and a run for two divergences, runs where they are told to end."""
    goals = {"kl": (-0.75, 1.392), "reverse_kl": (-1.496, 0.506)}
    rows: list[Row] = []
    for name, goal in goals.items():
        for by, (mean, std) in {"descent": goal, "f-GAN": changed.get(name, goal)}.items():
            rows.append({"by": by, "divergence": name, "mean": mean, "std": std, "value": 0.4})
            if by == "f-GAN":
                rows[-1]["seed"] = 0
    return rows


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        (fits(), [True, True, True]),
        (fits(kl=(-1.5, 0.5)), [False, True, False]),
        (fits(reverse_kl=(-0.75, 1.4)), [True, False, False]),
        (fits()[:1], [None, None, None]),
        ([], [None, None, None]),
    ],
)
def test_findings(rows: list[Row], holds: list[bool | None]) -> None:
    assert [finding.holds for finding in Covering().findings(rows)] == holds


def test_drawn_and_tabulated() -> None:
    figure = Covering().draw(fits())
    assert [axes.get_title() for axes in figure.axes] == [
        "KL, from the data",
        "reverse KL, to the data",
    ]
    [legend] = figure.legends
    assert len(legend.get_texts()) == 3
    assert len(Covering().draw([]).axes) == 1
    table = Covering().table(fits()).splitlines()
    assert table[3] == "| KL, from the data | f-GAN | 0 | -0.750 | 1.392 | 0.4000 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"divergences": ["pearson"]}, "'divergences' to be one of"),
        ({"share": 0.5}, r"'share' to be in \(0.5, 1\), got 0.5"),
        ({"std": 0.0}, "'std' to be positive"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Covering(**options)
