import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_gan.layers import spectral_normalize

LAYERS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Linear(6, 5), (2, 6)),
    (lambda: nn.Conv1d(4, 6, 3), (2, 4, 8)),
    (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 8)),
    (lambda: nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
    (lambda: nn.ConvTranspose1d(4, 6, 3), (2, 4, 8)),
    (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 8, 8)),
    (lambda: nn.ConvTranspose3d(2, 3, 2), (2, 2, 4, 4, 4)),
]


def matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return a weight with a row per output channel."""
    transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    return (weight.transpose(0, 1) if transposed else weight).detach().flatten(start_dim=1)


def assert_divided_by_its_norm(layer: nn.Module, before: Tensor, rtol: float = 1e-5) -> None:
    norm = torch.linalg.svdvals(matrix(layer, before).float())[0]
    layer.eval()
    assert isinstance(layer.weight, Tensor)
    torch.testing.assert_close(layer.weight.detach(), before / norm, rtol=rtol, atol=1e-7)


@pytest.mark.parametrize(("build", "shape"), LAYERS)
def test_divides_by_the_largest_singular_value(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    layer = build()
    before = layer.weight.detach().clone()  # type: ignore[operator]
    assert spectral_normalize(layer) is layer
    for _ in range(200):
        layer(torch.randn(shape))
    assert_divided_by_its_norm(layer, before, rtol=1e-4)


def test_divides_embeddings_too() -> None:
    layer = nn.Embedding(7, 3)
    before = layer.weight.detach().clone()
    spectral_normalize(layer)
    for _ in range(100):
        layer(torch.tensor([0, 6]))
    assert_divided_by_its_norm(layer, before)


def test_iterates_once_per_forward_pass_in_training_mode_alone() -> None:
    layer = spectral_normalize(nn.Linear(30, 20))
    state = copy.deepcopy(layer.state_dict())
    u, v = (state[f"parametrizations.weight.0._{name}"] for name in "uv")
    weight = state["parametrizations.weight.original"]
    layer.eval()(torch.randn(2, 30))
    torch.testing.assert_close(layer.state_dict(), state, rtol=0, atol=0)
    layer.train()(torch.randn(2, 30))
    u = nn.functional.normalize(weight @ v, dim=0)
    v = nn.functional.normalize(weight.T @ u, dim=0)
    after = layer.state_dict()
    torch.testing.assert_close(after["parametrizations.weight.0._u"], u, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after["parametrizations.weight.0._v"], v, rtol=1e-5, atol=1e-6)


def test_gradient_goes_through_the_norm_with_u_and_v_fixed() -> None:
    """Of sum(C * W / s), s = u'Wv: C / s - <C, W> u v' / s^2."""
    layer = nn.Linear(4, 3)
    spectral_normalize(layer).eval()
    state, c = layer.state_dict(), torch.randn(3, 4)
    w, u, v = (state[f"parametrizations.weight.{key}"] for key in ("original", "0._u", "0._v"))
    s = u @ w @ v
    (layer.weight * c).sum().backward()
    expected = c / s - (c * w).sum() * torch.outer(u, v) / s**2
    (gradient,) = (p.grad for name, p in layer.named_parameters() if "original" in name)
    assert gradient is not None
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_leaves_alone_what_is_normalised() -> None:
    former = nn.utils.spectral_norm(nn.Linear(2, 2))
    present = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))
    before = [list(layer.state_dict()) for layer in (former, present)]
    spectral_normalize(nn.Sequential(former, present))
    assert [list(layer.state_dict()) for layer in (former, present)] == before
    ours = spectral_normalize(nn.Linear(2, 2))
    once = list(ours.state_dict())
    assert list(spectral_normalize(ours).state_dict()) == once


def test_is_as_exact_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA autocast rounds the operands of `torch.mv`; on the CPU it has to be played."""
    multiply = torch.mv

    def rounding(a: Tensor, b: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            return multiply(a.bfloat16(), b.bfloat16()).float()
        return multiply(a, b)

    monkeypatch.setattr(torch, "mv", rounding)
    layer = nn.Linear(64, 128)
    before = layer.weight.detach().clone()
    spectral_normalize(layer)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(300):
            assert layer(torch.randn(2, 64)).dtype == torch.bfloat16
    assert_divided_by_its_norm(layer, before)


@pytest.mark.gpu
def test_is_as_exact_under_autocast_on_an_accelerator() -> None:
    layer = nn.Linear(64, 128).cuda()
    before = layer.weight.detach().clone()
    spectral_normalize(layer)
    with torch.autocast("cuda", torch.float16):
        for _ in range(300):
            layer(torch.randn(2, 64, device="cuda"))
    assert_divided_by_its_norm(layer, before, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.bfloat16, 3e-2), (torch.float64, 1e-5)])
def test_goes_with_the_precision_of_the_weights(dtype: torch.dtype, rtol: float) -> None:
    layer = nn.Linear(8, 6)
    before = layer.weight.detach().clone().to(dtype)
    spectral_normalize(layer).to(dtype)
    for _ in range(100):
        assert layer(torch.randn(2, 8, dtype=dtype)).dtype == dtype
    assert_divided_by_its_norm(layer, before, rtol)


def test_survives_copies_and_checkpoints() -> None:
    network = spectral_normalize(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 1)))
    network(torch.randn(2, 1, 4, 4))
    other = spectral_normalize(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 1)))
    other.load_state_dict(network.state_dict())
    copied, x = copy.deepcopy(network), torch.randn(2, 1, 4, 4)
    for _ in range(2):
        expected = network(x)
        torch.testing.assert_close(copied(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)


def test_refuses_a_weight_of_zeros() -> None:
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    with pytest.raises(ValueError, match="weight of '1' not to be all zeros"):
        spectral_normalize(nn.Sequential(nn.Linear(2, 2), layer))
