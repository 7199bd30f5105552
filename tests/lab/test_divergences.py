"""Jensen-Shannon against Wasserstein, short runs."""

import math
from typing import Any

import pytest
import torch

from lightning_gan.lab import Row
from lightning_gan.lab.divergences import METHODS, Divergences, Line

# What each method estimates at a distance of 0.5, and the slope of its generator's loss.
EXPECTED = {
    "gan": (math.log(2), 0.0),
    "fgan_jensen_shannon": (math.log(2), 0.0),
    "fgan_squared_hellinger": (2.0, 0.0),
    "wgan_gp": (0.5, 1.0),
    "wgan_sn": (0.5, 1.0),
}


def test_generator_is_a_segment() -> None:
    points = Line(0.3)(torch.randn(2000, 1))
    assert points.shape == (2000, 2)
    torch.testing.assert_close(points[:, 0], torch.full((2000,), 0.3))
    assert 0 <= points[:, 1].min() < 0.01 < 0.99 < points[:, 1].max() <= 1
    assert points[:, 1].mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_estimates(method: str) -> None:
    experiment = Divergences(methods=[method], steps=120, batch_size=64, rate=1e-2, hidden=[32, 32])
    row = experiment.measure(method=method, distance=0.5, seed=0)
    estimate, slope = EXPECTED[method]
    assert row["estimate"] == pytest.approx(estimate, rel=0.15)
    assert row["gradient"] == pytest.approx(slope, abs=0.15)


def test_a_trial_comes_out_the_same_twice() -> None:
    experiment = Divergences(steps=2, batch_size=8)
    trial = {"method": "wgan_sn", "distance": 0.5, "seed": 1}
    first = experiment.measure(**trial)
    torch.rand(7)
    assert experiment.measure(**trial) == first


def made_up(**changes: Any) -> list[Row]:
    """Return rows at the closed forms, but for what is changed of those of one method."""
    rows = []
    for trial in Divergences(distances=[-1.0, 0.0, 1.0], methods=list(METHODS)).trials():
        distance = trial["distance"]
        exact = METHODS[trial["method"]].exact(abs(distance)) if distance else 0.0
        slope = float(distance) if trial["method"].startswith("wgan") else 0.0
        rows.append(trial | {"estimate": exact, "gradient": slope})
        if trial["method"] == changes.get("method"):
            rows[-1] |= changes
    return rows


@pytest.mark.parametrize(
    ("changes", "false"),
    [
        ({}, set()),
        ({"method": "gan", "estimate": 0.5}, {0, 4}),
        ({"method": "fgan_squared_hellinger", "gradient": 0.1}, {1}),
        ({"method": "wgan_gp", "gradient": 1.0}, {3}),  # away from the data on the left
        ({"method": "wgan_sn", "estimate": 0.8}, {2, 4}),
    ],
)
def test_findings(changes: dict[str, Any], false: set[int]) -> None:
    found = Divergences().findings(made_up(**changes))
    assert {i for i, finding in enumerate(found) if finding.holds is False} == false
    assert all(finding.holds is not None for finding in found)


def test_without_rows_nothing_is_claimed() -> None:
    experiment = Divergences()
    assert {finding.holds for finding in experiment.findings([])} == {None}
    assert len(experiment.draw([]).axes) == 2


def test_drawn_and_tabulated() -> None:
    rows = made_up()
    figure = Divergences().draw(rows)
    [legend] = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["closed form", *(method.label for method in METHODS.values())]
    table = Divergences().table(rows).splitlines()
    assert len(table) == 2 + len(rows)
    assert table[2] == "| Jensen-Shannon, by GAN | -1.0 | 0 | 0.693 | 0.693 | 0.000 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["vae"]}, "'methods' to be one of"),
        ({"steps": 0}, "'steps' to be positive"),
        ({"rate": -1.0}, "'rate' to be positive"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Divergences(**options)
