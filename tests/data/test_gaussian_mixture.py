import math
from typing import Any, Literal

import pytest
import torch

from lightning_gan.data import GaussianMixture

Layout = Literal["ring", "grid"]


def loaded(**options: Any) -> GaussianMixture:
    data = GaussianMixture(**{"num_samples": 4000} | options)
    data.setup("fit")
    return data


def test_the_ring_has_eight_centres_on_the_unit_circle() -> None:
    angles = [2 * math.pi * i / 8 for i in range(8)]
    expected = torch.tensor([[math.cos(a), math.sin(a)] for a in angles])
    centers = GaussianMixture("ring").centers
    torch.testing.assert_close(centers, expected, rtol=0, atol=1e-6)
    assert torch.pdist(centers).min() > 0.7


def test_the_grid_has_twenty_five_centres() -> None:
    expected = {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}
    assert {(x, y) for x, y in GaussianMixture("grid").centers.tolist()} == expected
    assert GaussianMixture("grid").num_classes == 25


@pytest.mark.parametrize(("layout", "std"), [("ring", 0.01), ("grid", 0.05)])
def test_points_scatter_about_the_centre_of_their_label(layout: Layout, std: float) -> None:
    data = loaded(layout=layout)
    points, labels = data.train_set.samples, data.train_set.labels
    offsets = points - data.centers[labels]
    torch.testing.assert_close(offsets.std(), torch.tensor(std), rtol=0.05, atol=0)
    torch.testing.assert_close(offsets.mean(0), torch.zeros(2), rtol=0, atol=5 * std / 4000**0.5)
    torch.testing.assert_close(torch.cdist(points, data.centers).argmin(1), labels)


def test_modes_are_equally_frequent() -> None:
    counts = loaded().train_set.labels.bincount(minlength=8).float()
    torch.testing.assert_close(counts, torch.full((8,), 500.0), rtol=0, atol=110)  # 5 sigma


def test_the_points_do_not_depend_on_the_seed() -> None:
    first, second = loaded(seed=1), loaded(seed=2)
    torch.testing.assert_close(first.train_set.samples, second.train_set.samples, rtol=0, atol=0)
    assert not torch.equal(
        next(iter(first.train_dataloader()))[0], next(iter(second.train_dataloader()))[0]
    )


def test_held_out_points_are_others() -> None:
    data = loaded()
    assert data.test_set is not None
    assert len(data.test_set) == 10_000
    assert not torch.equal(data.test_set.samples[:4000], data.train_set.samples)


def test_std_zero_gives_the_centres() -> None:
    data = loaded(std=0.0)
    expected = data.centers[data.train_set.labels]
    torch.testing.assert_close(data.train_set.samples, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "value"), [("layout", "rign"), ("std", -0.1), ("num_samples", 0)])
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Expected '{name}' to be .*, got '?{value}"):
        GaussianMixture(**{name: value})
