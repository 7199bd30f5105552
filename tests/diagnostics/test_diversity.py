import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gan.diagnostics import diversity


def by_numpy(real: Tensor, fake: Tensor) -> dict[str, float]:
    mean, nearest = {}, {}
    for name, samples in (("real", real), ("fake", fake)):
        rows = samples.double().flatten(start_dim=1).numpy()
        distances = np.linalg.norm(rows[:, None] - rows, axis=2)
        mean[name] = distances[np.triu_indices(len(rows), k=1)].mean()
        np.fill_diagonal(distances, np.inf)
        nearest[name] = distances.min(axis=1)
    near = 0.1 * np.median(nearest["real"])
    twins = {name: (distances < near).mean() for name, distances in nearest.items()}
    return {
        "diversity": float(mean["fake"] / mean["real"]),
        "duplicates": max(0.0, float(twins["fake"] - twins["real"])),
    }


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_follows_the_definition(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    real, fake = torch.randn(31, *shape).to(dtype), (0.4 * torch.randn(24, *shape)).to(dtype)
    fake[5:9] = fake[:4]
    expected = by_numpy(real, fake)
    assert expected["duplicates"] >= 8 / 24
    assert diversity(real, fake) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_is_1_for_samples_that_vary_alike(scale: float) -> None:
    real = torch.randn(40, 1, 8, 8)
    figures = diversity(real, scale * real.flip(2) + 5)
    assert figures == pytest.approx({"diversity": scale, "duplicates": 0.0}, rel=1e-4)


def test_collapse_to_one_sample() -> None:
    figures = diversity(torch.randn(20, 2), torch.full((20, 2), 0.7))
    assert figures == {"diversity": 0.0, "duplicates": 1.0}


def test_two_distant_modes_are_seen_as_duplicates() -> None:
    fake = torch.tensor([[3.0, 0.0], [-3.0, 0.0]]).repeat(10, 1)
    figures = diversity(torch.randn(20, 2), fake)
    assert figures["diversity"] > 1
    assert figures["duplicates"] == 1


@pytest.mark.parametrize(("dim", "ball"), [(1, 2.0), (2, math.pi)])
def test_twins_of_samples_that_fill_space_evenly(dim: int, ball: float) -> None:
    """Beside real ones on a grid, 1/g apart, none of which is another's twin."""
    side = {1: 1024, 2: 32}[dim]
    axes = [torch.arange(side) / side] * dim
    grid = torch.cartesian_prod(*axes).reshape(-1, dim)
    draws = [diversity(grid, torch.rand(1024, dim))["duplicates"] for _ in range(8)]
    expected = 1 - math.exp(-ball * 0.1**dim)  # Poisson: none of 1024 within a tenth of a step
    assert np.mean(draws) == pytest.approx(expected, abs=[0.02, 0.006][dim - 1])


@pytest.mark.parametrize("dim", [1, 2])
def test_a_perfect_generator_repeats_no_more_than_the_data(dim: int) -> None:
    draws = [diversity(*torch.rand(2, 1000, dim))["duplicates"] for _ in range(4)]
    assert np.mean(draws) < 0.02


@pytest.mark.parametrize("repeated", [0.2, 0.4])
def test_repeats_in_the_data_are_not_held_against_the_generator(repeated: float) -> None:
    def draw() -> Tensor:
        return torch.where(torch.rand(500, 1) < repeated, 0.0, torch.randn(500, 8))

    assert diversity(draw(), draw())["duplicates"] < 0.1
    collapsed = diversity(draw(), torch.zeros(500, 8))
    assert collapsed["duplicates"] == pytest.approx(1 - repeated, abs=0.1)


def test_real_samples_that_are_the_same_tell_nothing() -> None:
    fake = torch.randn(6, 2)
    assert diversity(torch.ones(6, 2), fake) == {}
    assert diversity(torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(3, 1), fake).keys() == {
        "diversity"
    }


@pytest.mark.parametrize("counts", [(1, 4), (4, 1)])
def test_refuses_single_samples(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 2 samples of each kind, got 1"):
        diversity(*(torch.randn(n, 2) for n in counts))
