import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from lightning_gan.layers import MinibatchDiscrimination, MinibatchStdDev


def test_discrimination_of_the_toy_rows() -> None:
    """Rows (0, 0), (1, 0), (1, 2) of one kernel: distances 1, 3 and 2."""
    layer = MinibatchDiscrimination(2, num_kernels=1, kernel_dim=2)
    layer.tensor.data = torch.eye(2)[:, None]
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    result = layer(rows)
    torch.testing.assert_close(result[:, :2], rows, rtol=0, atol=0)
    expected = torch.tensor([0.41767, 0.50321, 0.18512])
    torch.testing.assert_close(result[:, 2], expected, rtol=0, atol=1e-5)


def test_discrimination_is_the_formula_of_the_paper() -> None:
    layer, x = MinibatchDiscrimination(6, num_kernels=4, kernel_dim=3), torch.randn(5, 6)
    rows = np.einsum("na,abc->nbc", x.numpy(), layer.tensor.detach().numpy())
    expected = np.zeros((5, 4), dtype=np.float32)
    for i in range(5):
        for j in range(5):
            if j != i:
                expected[i] += np.exp(-np.abs(rows[i] - rows[j]).sum(axis=1))
    result = layer(x)
    assert result.shape == (5, layer.out_features) == (5, 10)
    torch.testing.assert_close(result[:, 6:], torch.from_numpy(expected), rtol=1e-4, atol=1e-6)


def test_discrimination_of_a_collapsed_batch_counts_the_others() -> None:
    result = MinibatchDiscrimination(3, num_kernels=2)(torch.ones(7, 3))
    torch.testing.assert_close(result[:, 3:], torch.full((7, 2), 6.0), rtol=1e-6, atol=0)


def test_discrimination_starts_neither_blind_nor_saturated() -> None:
    closeness = MinibatchDiscrimination(1024)(torch.randn(16, 1024))[:, 1024:] / 15
    assert 1e-3 < float(closeness.detach().mean()) < 0.5


def test_discrimination_is_as_exact_under_autocast() -> None:
    layer, x = MinibatchDiscrimination(64, num_kernels=8), torch.randn(1, 64) + torch.zeros(6, 64)
    x = x + 1e-3 * torch.randn(6, 64)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
    torch.testing.assert_close(rough, layer(x), rtol=1e-6, atol=1e-6)


def test_discrimination_can_be_differentiated_twice() -> None:
    layer = MinibatchDiscrimination(3, num_kernels=2, kernel_dim=2).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, x)
    assert gradgradcheck(layer, x)


def std_dev_reference(x: Tensor, group_size: int) -> Tensor:
    """As in the authors' code: sample i is in the group of i modulo the number of groups."""
    images, count = x.numpy(), len(x)
    size = max(s for s in range(1, group_size + 1) if count % s == 0)
    groups = count // size
    feature = np.empty(count, dtype=images.dtype)
    for i in range(count):
        members = images[[j for j in range(count) if j % groups == i % groups]]
        feature[i] = np.sqrt(members.var(axis=0) + 1e-8).mean()
    return torch.from_numpy(feature)


@pytest.mark.parametrize("count", [1, 2, 4, 6, 7, 8])
@pytest.mark.parametrize("shape", [(3,), (3, 2, 5)])
@pytest.mark.parametrize("group_size", [1, 4])
def test_std_dev(count: int, shape: tuple[int, ...], group_size: int) -> None:
    x = torch.randn(count, *shape)
    result = MinibatchStdDev(group_size)(x)
    assert result.shape == (count, 4, *shape[1:])
    torch.testing.assert_close(result[:, :3], x, rtol=0, atol=0)
    feature = std_dev_reference(x, group_size).reshape(-1, *(1,) * (len(shape) - 1))
    expected = feature.expand(-1, *shape[1:])
    torch.testing.assert_close(result[:, 3], expected, rtol=1e-5, atol=1e-6)


def test_std_dev_of_constant_images() -> None:
    x = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1).expand(-1, 3, 4, 4)
    torch.testing.assert_close(MinibatchStdDev()(x)[:, 3], torch.ones(2, 4, 4), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_std_dev_of_a_collapsed_batch(dtype: torch.dtype) -> None:
    result = MinibatchStdDev()(torch.ones(8, 2, dtype=dtype))
    assert result.dtype == dtype
    torch.testing.assert_close(result[:, 2].float(), torch.full((8,), 1e-4), rtol=1e-2, atol=0)


def test_std_dev_can_be_differentiated_twice() -> None:
    x = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(MinibatchStdDev(), x)
    assert gradgradcheck(MinibatchStdDev(), x)


def test_std_dev_has_a_finite_slope_at_a_collapsed_batch() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(MinibatchStdDev()(x)[:, 3].sum(), x)
    torch.testing.assert_close(slope, torch.zeros(4, 3), rtol=0, atol=0)


def test_std_dev_refuses_a_group_of_none() -> None:
    with pytest.raises(ValueError, match="'group_size' to be at least 1, got 0"):
        MinibatchStdDev(0)


@pytest.mark.parametrize("layer", [MinibatchDiscrimination(3, 4, 2), MinibatchStdDev()])
def test_samples_see_each_other(layer: nn.Module) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x)[0].sum(), x)
    assert slope[1:].abs().amax(dim=1).gt(0).all()
