import pytest
import torch
from torch import nn

from lightning_gan.layers import Maxout, empirical_slope, lipschitz_bound


def test_equals_the_written_formula() -> None:
    x = torch.randn(3, 4 * 5, dtype=torch.float64)
    expected = [[max(row[i::4].tolist()) for i in range(4)] for row in x]
    torch.testing.assert_close(Maxout(5)(x), x.new_tensor(expected), rtol=0, atol=0)


def test_two_pieces_make_an_absolute_value() -> None:
    line = nn.Linear(1, 2, bias=False)
    line.weight.data = torch.tensor([[1.0], [-1.0]])
    x = torch.linspace(-3, 3, 7)[:, None]
    torch.testing.assert_close(nn.Sequential(line, Maxout(2))(x), x.abs(), rtol=0, atol=0)


def test_second_derivatives() -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: Maxout(3)(x.square()), x)


def test_slope_is_at_most_1() -> None:
    network = nn.Sequential(nn.Linear(2, 6), Maxout(3), nn.Linear(2, 1))
    x = torch.randn(64, 2)
    assert empirical_slope(network, x).max() <= lipschitz_bound(network, x) * (1 + 1e-5)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"'pieces' to be at least 1, got 0\."):
        Maxout(0)
    with pytest.raises(ValueError, match=r"multiple of pieces=5 columns, got 6\."):
        Maxout(5)(torch.zeros(2, 6))
