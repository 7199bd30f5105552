import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from lightning_gan.layers import (
    ConditionalBatchNorm2d,
    ConditionalSequential,
    VectorBatchNorm2d,
    append_labels,
    apply,
)


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


def test_apply_gives_labels_to_conditional_modules_alone() -> None:
    class Conditional(nn.Module):
        num_classes: int | None = 3

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return x + labels

    conditional, x, labels = Conditional(), torch.zeros(2), torch.tensor([1, 2])
    torch.testing.assert_close(apply(conditional, x, labels), torch.tensor([1.0, 2.0]))
    assert apply(nn.Identity(), x, labels) is x
    unconditional = nn.Identity()
    unconditional.num_classes = None  # type: ignore[assignment]
    assert apply(unconditional, x, labels) is x


def test_conditional_sequential_hands_on_labels_to_any_depth() -> None:
    norm = ConditionalBatchNorm2d(2, 3)
    nn.init.normal_(norm.gain)
    layers = ConditionalSequential(
        nn.Conv2d(1, 2, 1), ConditionalSequential(nn.ReLU(), norm), nn.Tanh()
    )
    x, labels = torch.randn(4, 1, 3, 3), torch.tensor([0, 2, 1, 2])
    expected = norm(layers[0](x).relu(), labels).tanh()
    torch.testing.assert_close(layers(x, labels), expected, rtol=0, atol=0)
    assert layers.num_classes == 3
    assert ConditionalSequential(nn.ReLU()).num_classes is None
    torch.testing.assert_close(ConditionalSequential(nn.ReLU())(x), x.relu(), rtol=0, atol=0)


def test_conditional_batch_norm_scales_and_shifts_by_class() -> None:
    norm, x, labels = ConditionalBatchNorm2d(3, 4), torch.randn(5, 3, 2, 6), torch.arange(5) % 4
    nn.init.normal_(norm.gain)
    nn.init.normal_(norm.bias)
    gain, bias, images = norm.gain.detach().numpy(), norm.bias.detach().numpy(), x.numpy()
    expected = np.empty_like(images)
    for c in range(3):
        mean, variance = images[:, c].mean(), images[:, c].var()
        for i, k in enumerate(labels.tolist()):
            normal = (images[i, c] - mean) / np.sqrt(variance + 1e-5)
            expected[i, c] = gain[k, c] * normal + bias[k, c]
    torch.testing.assert_close(norm(x, labels), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def test_conditional_batch_norm_starts_as_batch_norm_and_resets() -> None:
    norm, x, labels = ConditionalBatchNorm2d(3, 4), torch.randn(5, 3, 4, 4), torch.arange(5) % 4
    expected = batch_norm(x, None, None, training=True)
    torch.testing.assert_close(norm(x, labels), expected, rtol=1e-6, atol=1e-6)
    nn.init.normal_(norm.gain)
    nn.init.normal_(norm.bias)
    norm.reset_parameters()
    torch.testing.assert_close(norm(x, labels), expected, rtol=1e-6, atol=1e-6)


def test_conditional_batch_norm_learns_only_the_classes_it_sees() -> None:
    norm = ConditionalBatchNorm2d(2, 3)
    norm(torch.randn(4, 2, 3, 3), torch.tensor([0, 2, 2, 0])).square().sum().backward()
    for parameter in (norm.gain, norm.bias):
        assert parameter.grad is not None
        assert parameter.grad[[0, 2]].all()
        assert not parameter.grad[1].any()


def test_conditional_batch_norm_uses_running_statistics_in_evaluation() -> None:
    norm, labels = ConditionalBatchNorm2d(2, 3), torch.tensor([0, 1, 2, 0])
    for _ in range(3):
        norm(1 + 2 * torch.randn(4, 2, 3, 3), labels)
    norm.eval()
    x = torch.randn(4, 2, 3, 3)
    alone = torch.cat([norm(x[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(norm(x, labels), alone, rtol=1e-6, atol=1e-6)


def test_conditional_batch_norm_survives_conversion_to_synchronised_statistics() -> None:
    norm = nn.SyncBatchNorm.convert_sync_batchnorm(ConditionalBatchNorm2d(2, 3))
    assert isinstance(norm, ConditionalBatchNorm2d)
    assert isinstance(norm.norm, nn.SyncBatchNorm)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_conditional_batch_norm_keeps_the_precision(dtype: torch.dtype) -> None:
    labels = torch.tensor([0, 1])
    norm = ConditionalBatchNorm2d(2, 3)
    assert norm(torch.randn(2, 2, 3, 3).bfloat16(), labels).dtype == torch.bfloat16
    assert norm.to(dtype)(torch.randn(2, 2, 3, 3, dtype=dtype), labels).dtype == dtype


def test_conditional_batch_norm_refuses_a_label_out_of_range() -> None:
    with pytest.raises(IndexError, match="out of range"):
        ConditionalBatchNorm2d(1, 2)(torch.zeros(2, 1, 2, 2), torch.tensor([0, 2]))


def test_vector_batch_norm_scales_and_shifts_by_linear_maps() -> None:
    norm, x, vectors = VectorBatchNorm2d(3, 4), torch.randn(5, 3, 2, 6), torch.randn(5, 4)
    gains = vectors.numpy() @ norm.gain.weight.detach().numpy().T
    biases = vectors.numpy() @ norm.bias.weight.detach().numpy().T
    images = x.numpy()
    expected = np.empty_like(images)
    for c in range(3):
        mean, variance = images[:, c].mean(), images[:, c].var()
        for i in range(5):
            normal = (images[i, c] - mean) / np.sqrt(variance + 1e-5)
            expected[i, c] = (1 + gains[i, c]) * normal + biases[i, c]
    torch.testing.assert_close(norm(x, vectors), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    assert [tuple(p.shape) for p in norm.parameters()] == [(3, 4), (3, 4)]


def test_vector_batch_norm_uses_running_statistics_in_evaluation() -> None:
    norm, vectors = VectorBatchNorm2d(2, 3), torch.randn(4, 3)
    for _ in range(3):
        norm(1 + 2 * torch.randn(4, 2, 3, 3), vectors)
    norm.eval()
    x = torch.randn(4, 2, 3, 3)
    alone = torch.cat([norm(x[i : i + 1], vectors[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(norm(x, vectors), alone, rtol=1e-6, atol=1e-6)


def test_vector_batch_norm_keeps_the_precision_under_autocast() -> None:
    norm, vectors = VectorBatchNorm2d(2, 3), torch.randn(4, 3)
    x = torch.randn(4, 2, 3, 3)
    expected = norm(x, vectors)
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            y = norm(x.to(dtype), vectors)
            assert y.dtype == dtype
            torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


def test_conditional_sequential_hands_on_vectors_to_any_depth() -> None:
    norm = VectorBatchNorm2d(2, 3)
    inner = ConditionalSequential(nn.ReLU(), norm)
    layers = ConditionalSequential(nn.Conv2d(1, 2, 1), inner, nn.Tanh())
    x, vectors = torch.randn(4, 1, 3, 3), torch.randn(4, 3)
    expected = norm(layers[0](x).relu(), vectors).tanh()
    torch.testing.assert_close(layers(x, vectors), expected, rtol=0, atol=0)
    assert (layers.vector_dim, layers.num_classes) == (3, None)
    assert ConditionalSequential(nn.ReLU()).vector_dim is None
