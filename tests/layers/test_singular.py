"""The largest singular value of a map, beside that of its matrix."""

import pytest
import torch
from torch.nn.functional import conv2d, linear

from lightning_gan.layers import singular


def of_matrix(weight: torch.Tensor, shape: tuple[int, ...]) -> float:
    units = torch.eye(int(torch.tensor(shape).prod()), dtype=torch.float64).reshape(-1, *shape)
    images = conv2d(units, weight.double(), padding=1).flatten(start_dim=1)
    return float(torch.linalg.svdvals(images)[0])


@pytest.mark.parametrize(
    ("most", "numbers"), [(10**6, 10**9), (16, 10**9), (40, 1)], ids=["all", "16", "8"]
)
def test_few_vectors_are_enough(most: int, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular, "_MOST_VECTORS", most)
    monkeypatch.setattr(singular, "_MOST_NUMBERS", numbers)
    weight, shape = torch.randn(8, 8, 3, 3), (8, 10, 10)  # takes 40 steps
    value, vector = singular.largest_singular(lambda x, w: conv2d(x, w, padding=1), weight, shape)
    assert value == pytest.approx(of_matrix(weight, shape), rel=1e-6)
    assert vector.shape == (1, *shape)
    image = conv2d(vector, weight.double(), padding=1)
    assert float(image.norm() / vector.norm()) == pytest.approx(value, rel=1e-6)


def test_steps_may_run_out_where_the_vectors_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular, "_MOST_NUMBERS", 1)
    monkeypatch.setattr(singular, "_MOST_STEPS", 8 + 6)  # 8 vectors, of which 2 are kept
    weight, shape = torch.randn(8, 8, 3, 3), (8, 10, 10)
    value, vector = singular.largest_singular(lambda x, w: conv2d(x, w, padding=1), weight, shape)
    image = conv2d(vector, weight.double(), padding=1)
    assert float(image.norm() / vector.norm()) == pytest.approx(value, rel=1e-6)
    exact = of_matrix(weight, shape)
    assert 0.9 * exact < value < exact


def test_a_map_of_rank_one() -> None:
    left, right = torch.randn(5), torch.randn(7)
    value, _ = singular.largest_singular(linear, torch.outer(left, right), (7,))
    assert value == pytest.approx(float(left.norm() * right.norm()), rel=1e-6)
    assert singular.largest_singular(linear, torch.zeros(5, 7), (7,))[0] == 0


def test_gram_is_the_map_and_its_adjoint() -> None:
    weight, x = torch.randn(5, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    torch.testing.assert_close(singular.gram(linear, weight, x), x @ weight.T @ weight)
