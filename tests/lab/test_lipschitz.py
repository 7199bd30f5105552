from typing import Any

import pytest
import torch
from torch import nn

from lightning_gan.lab import Row
from lightning_gan.lab.catalog import packaged
from lightning_gan.lab.lipschitz import CASES, Lipschitz
from lightning_gan.lab.lipschitz_critics import (
    NORMALIZATIONS,
    SHAPE,
    Kind,
    convolutional_critic,
    identity_critic,
    settle,
    steepest_slope,
)
from lightning_gan.layers import empirical_slope, layer_norms, lipschitz_bound

SMALL: dict[str, Any] = {"channels": 2, "steps": 2, "batch_size": 4, "search_steps": 2}
IMAGES = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "slope"), [("sum", 2.0), ("mean", 1.0)])
def test_two_identities(kind: Kind, slope: float) -> None:
    critic = NORMALIZATIONS["exact"](identity_critic(kind))
    torch.testing.assert_close(
        empirical_slope(critic, IMAGES.abs() + 0.1), torch.full((3,), slope), rtol=1e-5, atol=0
    )
    assert lipschitz_bound(critic, IMAGES) == pytest.approx(slope, rel=1e-5)
    assert steepest_slope(critic, IMAGES.abs(), steps=5) == pytest.approx(slope, rel=1e-5)


def test_steepest_slope_is_found_from_afar() -> None:
    # Slope 5 where both units are on, which they are at none of the starts.
    first, last = nn.Linear(2, 2), nn.Linear(2, 1)
    first.weight.data, first.bias.data = torch.eye(2), torch.tensor([-1.0, -1.0])
    last.weight.data = torch.tensor([[3.0, 4.0]])
    network = nn.Sequential(first, nn.ReLU(), last)
    starts = torch.tensor([[1.5, 0.0], [0.0, 1.5]]).repeat(8, 1)
    assert empirical_slope(network, starts)[:2].tolist() == pytest.approx([3.0, 4.0])
    assert steepest_slope(network, starts) == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize("kind", ["plain", "sum", "mean"])
def test_normalised_critics(kind: Kind) -> None:
    critic = NORMALIZATIONS["exact"](convolutional_critic(kind, 3))
    bound = 2.0 if kind == "sum" else 1.0
    assert lipschitz_bound(critic, IMAGES) == pytest.approx(bound, rel=1e-4)
    assert len(layer_norms(critic, IMAGES)) == 4
    assert steepest_slope(critic, IMAGES, steps=20) <= bound


def test_settling() -> None:
    critic = NORMALIZATIONS["exact"](nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False)))
    nn.init.normal_(critic[0].parametrizations.weight.original)  # type: ignore[index]
    pixels = torch.eye(64).reshape(64, 1, *SHAPE[1:])

    def norm() -> float:
        with torch.no_grad():
            matrix = critic.eval()(pixels).flatten(1)
        return float(torch.linalg.matrix_norm(matrix, 2))

    assert norm() > 1.05
    settle(critic, IMAGES)
    assert norm() == pytest.approx(1.0, abs=0.01)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    experiment = Lipschitz(**SMALL)
    wanted = [("wasserstein", "plain", "none"), ("wasserstein", "sum", "exact")]
    wanted += [("hinge", "plain", "spectral"), ("none", "sum", "exact")]
    trials = [t for t in experiment.trials() if tuple(t.values())[:3] in wanted]
    return [trial | experiment.measure(**trial) for trial in trials]


def test_measurement(rows: list[Row]) -> None:
    assert len(rows) == 4
    for row in rows:
        assert 0 < row["slope"] <= 1.001 * row["bound"]
        assert all(norm > 0 for norm in row["norms"])
        assert row["steps"] == ([0] if row["loss"] == "none" else [0, 1, 2])
        assert len(row["slopes"]) == len(row["steps"])
    of_sum, of_identity = rows[1], rows[3]
    assert of_sum["bound"] == pytest.approx(2.0, rel=0.01)
    assert of_identity["slope"] == pytest.approx(2.0, rel=1e-4)


def test_the_same_twice(rows: list[Row]) -> None:
    identity = {key: rows[1][key] for key in ("loss", "critic", "normalization", "seed")}
    assert rows[1]["slopes"] == Lipschitz(**SMALL).measure(**identity)["slopes"]


def made(**slopes: float) -> list[Row]:
    """Return a row for each trial, with slopes by its name; 0.9 of the bound otherwise."""
    rows = []
    for trial in Lipschitz().trials():
        name = "_".join([trial["loss"], trial["critic"], trial["normalization"]])
        bound = 2.0 if trial["critic"] == "sum" else 1.0
        bound = {"none": 1e6, "spectral": 27.0}.get(trial["normalization"], bound)
        exact = bound if trial["loss"] == "none" else 0.9 * bound
        held = {"slope": slopes.get(name, exact), "bound": bound, "bound_in_training": bound}
        growth = slopes.get("growth", 10.0) if trial["normalization"] == "none" else 1.1
        rows.append(trial | held | {"norms": [2.5], "slopes": [0.1, 1.0, growth]})
    return rows


def test_findings() -> None:
    experiment = Lipschitz()
    assert {finding.holds for finding in experiment.findings([])} == {None}
    assert [finding.holds for finding in experiment.findings(made())] == [True] * 9


@pytest.mark.parametrize(
    ("slopes", "refuted"),
    [
        ({"growth": 1.9}, [1]),
        ({"hinge_plain_none": 20.0}, [2]),
        ({"hinge_plain_spectral": 0.5}, [2]),
        ({"wasserstein_plain_exact": 1.1}, [3, 8]),
        ({"none_sum_exact": 1.5}, [4]),
        ({"wasserstein_sum_exact": 0.9}, [5]),
        ({"none_mean_exact": 0.5}, [6]),
        ({"wasserstein_mean_exact": 1.5}, [7, 8]),
    ],
)
def test_findings_that_are_refuted(slopes: dict[str, float], refuted: list[int]) -> None:
    holds = [finding.holds for finding in Lipschitz().findings(made(**slopes))]
    assert [i for i, held in enumerate(holds) if not held] == refuted


def test_figure_and_table(rows: list[Row]) -> None:
    experiment = Lipschitz(**SMALL)
    figure = experiment.draw(rows)
    _, middle, right = figure.axes
    assert figure.get_suptitle() == Lipschitz.title
    assert [label.get_text() for label in middle.get_xticklabels()] == [
        "sum of\nbranches",
        "sum of\nidentities",
    ]
    assert right.get_legend_handles_labels()[1] == ["nothing"]
    assert len(experiment.draw([]).axes) == 3
    assert len(experiment.table(rows).splitlines()) == 2 + len(rows)


@pytest.mark.parametrize("name", ["channels", "steps", "rate", "batch_size", "search_steps"])
def test_numbers_that_are_not_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected '{name}' to be positive"):
        Lipschitz(**{name: 0})  # type: ignore[arg-type]


def test_file() -> None:
    specification = packaged("lipschitz")
    assert specification.experiment_class() is Lipschitz
    trials = list(Lipschitz(**specification.init_args).trials())
    trained = len(CASES["wasserstein"]) + len(CASES["hinge"])
    assert len(trials) == trained * len(specification.init_args["seeds"]) + len(CASES["none"])
