import math
from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan import WGAN
from lightning_gan.lab import Row
from lightning_gan.lab.catalog import packaged
from lightning_gan.lab.clipping import (
    PENALTY,
    Clipping,
    NoisyData,
    factor_per_layer,
    gradient_norms,
    share_at,
)
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training.batch import Batch

SMALL: dict[str, Any] = {"bounds": [0.05], "depth": 4, "width": 8, "steps": 2, "batch_size": 16}


def test_gradients_of_a_chain_of_equal_weights() -> None:
    # Positive everywhere, so that the activations do nothing: layer by layer the factor is c n.
    bound, width = 0.3, 5
    critic = MLPDiscriminator(hidden=[width] * 4)
    for parameter in critic.parameters():
        nn.init.constant_(parameter, bound)
    model = WGAN(MLPGenerator(), critic)
    norms = gradient_norms(model, Batch(torch.rand(6, 2)), Batch(torch.rand(6, 2)))
    of_hidden = [bound * width**0.5 * (bound * width) ** k for k in range(4)]
    of_samples = bound * 2**0.5 * (bound * width) ** 4
    expected = torch.tensor([of_samples, *reversed(of_hidden), 1.0])
    torch.testing.assert_close(torch.tensor(norms), expected, rtol=1e-5, atol=0)
    assert factor_per_layer(norms) == pytest.approx(bound * width, rel=1e-6)


def test_gradients_below_what_float32_holds() -> None:
    critic = MLPDiscriminator(hidden=[2] * 30)
    for parameter in critic.parameters():
        nn.init.constant_(parameter, 1e-3)
    norms = gradient_norms(WGAN(MLPGenerator(), critic), *[Batch(torch.rand(2, 2))] * 2)
    assert factor_per_layer(norms) == pytest.approx(2e-3, rel=1e-6)


def test_share_at_the_bound() -> None:
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[0.1, -0.0995, 0.098, 0.0]])
    assert share_at(layer, 0.1) == 0.5


def test_noisy_data() -> None:
    points = torch.arange(10.0).reshape(5, 2)
    still = NoisyData(points, 0.0)
    assert {tuple(x) for x in still(torch.randn(300, 3)).tolist()} == {
        tuple(x) for x in points.tolist()
    }
    latents = torch.tensor([[0.0, 1.0, -1.0], [math.inf, 0.0, 0.0]])
    torch.testing.assert_close(
        NoisyData(points, 0.5)(latents),
        torch.stack([points[2] + torch.tensor([0.5, -0.5]), points[4]]),
    )


def test_each_bound_and_the_penalty_are_tried() -> None:
    trials = list(Clipping([0.1, 0.2], seeds=[3, 4]).trials())
    assert [trial["bound"] for trial in trials] == [0.1, 0.2, None] * 2
    assert {(t["method"], t["bound"] is None) for t in trials} == {
        ("clipping", False),
        (PENALTY, True),
    }


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    experiment = Clipping(**SMALL)
    return [trial | experiment.measure(**trial) for trial in experiment.trials()]


def test_measurement(rows: list[Row]) -> None:
    clipped, penalised = rows
    assert clipped["edge"] == 0.05
    assert clipped["limit"] == pytest.approx(0.4)
    assert 0 < clipped["factor"] < clipped["limit"]
    assert 0.5 < clipped["share"] < 1.0  # weights of a layer of 8 begin in [-0.35, 0.35]
    assert penalised["share"] is None
    for row in rows:
        assert len(row["gradients"]) == 5
        assert row["gradients"][-1] == pytest.approx(1.0)
        assert sum(row["histogram"]) == pytest.approx(1.0)


def test_the_same_twice(rows: list[Row]) -> None:
    again = Clipping(**SMALL).measure(method="clipping", bound=0.05, seed=0)
    assert again["gradients"] == rows[0]["gradients"]


def row(
    bound: float | None,
    factor: float,
    share: float | None,
    start: float | None = None,
    limit: float = 2.0,
) -> Row:
    held = {"factor": factor, "share": share, "share_at_start": start, "limit": limit}
    return {"bound": bound, "seed": 0, **held}


def test_findings() -> None:
    experiment = Clipping()
    assert {finding.holds for finding in experiment.findings([])} == {None}
    claimed = [row(0.01, 0.1, 0.9, 0.9), row(0.1, 1.9, 0.8, 0.2), row(None, 1.1, None)]
    assert [finding.holds for finding in experiment.findings(claimed)] == [True] * 5
    assert "c = 0.1: +60%" in experiment.findings(claimed)[1].evidence
    refuted = [row(0.01, 1.2, 0.4, 0.3, limit=0.6), row(None, 2.0, None)]
    assert [finding.holds for finding in experiment.findings(refuted)] == [False] * 5


def test_figure(rows: list[Row]) -> None:
    figure = Clipping(**SMALL).draw(rows)
    left, middle, right = figure.axes
    assert figure.get_suptitle() == Clipping.title
    assert left.get_legend_handles_labels()[1] == ["clipping, c = 0.05", PENALTY]
    assert (len(middle.patches), len(right.patches)) == (1, 1)
    assert len(Clipping().draw([]).axes) == 3


@pytest.mark.parametrize("name", ["gp_weight", "width", "steps", "rate", "noise", "batch_size"])
def test_numbers_that_are_not_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected '{name}' to be positive"):
        Clipping(**{name: 0})  # type: ignore[arg-type]


def test_critics_that_are_not_deep() -> None:
    with pytest.raises(ValueError, match="Expected 'depth' to be at least 4, got 3"):
        Clipping(depth=3)
    with pytest.raises(ValueError, match="Expected 'bounds' to be positive or None, got -1"):
        Clipping([-1.0])


def test_file() -> None:
    specification = packaged("clipping")
    assert specification.experiment_class() is Clipping
    assert len(list(Clipping(**specification.init_args).trials())) == 15
