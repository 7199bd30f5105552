import pytest
import torch

from lightning_gan.layers import append_labels


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 2, 4, 5)])
def test_appends_one_hot_planes(shape: tuple[int, ...]) -> None:
    x, labels = torch.randn(shape), torch.tensor([2, 0, 3])
    result = append_labels(x, labels, num_classes=4)
    assert result.shape == (3, 6, *shape[2:])
    expected = torch.zeros(3, 4, *shape[2:])
    for i, label in enumerate(labels):
        expected[i, label] = 1
    torch.testing.assert_close(result[:, :2], x, rtol=0, atol=0)
    torch.testing.assert_close(result[:, 2:], expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_the_precision(dtype: torch.dtype) -> None:
    result = append_labels(torch.zeros(2, 1, dtype=dtype), torch.tensor([0, 1]), num_classes=2)
    assert result.dtype == dtype


def test_gradient_reaches_the_samples() -> None:
    x = torch.randn(2, 1, 3, 3, requires_grad=True)
    total = append_labels(x, torch.tensor([0, 1]), num_classes=2).sum()
    (by_x,) = torch.autograd.grad(total, x)
    torch.testing.assert_close(by_x, torch.ones_like(x), rtol=0, atol=0)


def test_refuses_a_label_out_of_range() -> None:
    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        append_labels(torch.zeros(1, 1), torch.tensor([2]), num_classes=2)
