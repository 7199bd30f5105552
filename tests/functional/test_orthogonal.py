import numpy as np
import pytest
import torch

from lightning_gan.functional import orthogonal_penalty


@pytest.mark.parametrize("shape", [(4, 3), (2, 7), (5, 2, 3, 3), (1, 4), (3, 2, 4)])
def test_sum_of_squared_products_of_different_filters(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    filters = weight.numpy().reshape(shape[0], -1)
    expected = 0.0
    for i, one in enumerate(filters):
        for j, other in enumerate(filters):
            if i != j:
                expected += np.dot(one, other) ** 2
    torch.testing.assert_close(
        orthogonal_penalty(weight), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (6, 2, 3, 3)])
def test_orthogonal_filters_of_any_length_cost_nothing(shape: tuple[int, ...]) -> None:
    weight = torch.nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64))
    weight *= torch.rand(shape[0], *(1,) * (len(shape) - 1), dtype=torch.float64) + 0.5
    zero = torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(orthogonal_penalty(weight), zero, rtol=0, atol=1e-24)


def test_equal_filters_cost() -> None:
    """Ten pairs in either order, each with a product of 9."""
    torch.testing.assert_close(orthogonal_penalty(torch.full((5, 1), 3.0)), torch.tensor(1620.0))


@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 2, 2)])
def test_gradient(shape: tuple[int, ...]) -> None:
    r"""4 (W W^T * (1 - I)) W by matrix calculus."""
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    (actual,) = torch.autograd.grad(orthogonal_penalty(weight), weight)
    rows = weight.detach().flatten(1).numpy()
    gram = rows @ rows.T
    expected = 4 * (gram * (1 - np.eye(len(gram)))) @ rows
    torch.testing.assert_close(
        actual, torch.from_numpy(expected).reshape(shape), rtol=1e-10, atol=1e-12
    )


def test_half_precision_is_left_for_the_sum() -> None:
    weight = torch.randn(16, 64)
    expected = orthogonal_penalty(weight)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(orthogonal_penalty(weight), expected, rtol=0, atol=0)
    half = weight.bfloat16()
    assert orthogonal_penalty(half).dtype == torch.float32
    torch.testing.assert_close(
        orthogonal_penalty(half), orthogonal_penalty(half.float()), rtol=0, atol=0
    )


@pytest.mark.parametrize("shape", [(), (3,)])
def test_refuses_vectors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"'weight' to have at least 2 dimensions, got \("):
        orthogonal_penalty(torch.zeros(shape))
