import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Adam

from lightning_gan.training import GANAdam


def weights(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in [(3, 4), (5,)]]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def train(optimizer: Adam, steps: range) -> list[Tensor]:
    parameters: list[nn.Parameter] = optimizer.param_groups[0]["params"]
    for step in steps:
        give_gradients(parameters, step)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def assert_equal(actual: list[Tensor], expected: list[Tensor]) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"lr": 0.1, "beta1": 0.0, "beta2": 0.9, "eps": 1e-4, "weight_decay": 0.01}]
)
def test_equals_adam_bit_for_bit(options: dict[str, Any], fused: bool) -> None:
    settings = {"lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0} | options
    betas = (settings.pop("beta1"), settings.pop("beta2"))
    reference = Adam(weights(), betas=betas, fused=fused, **settings)
    assert_equal(
        train(GANAdam(weights(), fused=fused, **options), range(5)),
        train(reference, range(5)),
    )


def test_is_fused_unless_told_otherwise() -> None:
    assert GANAdam(weights()).defaults["fused"] is True
    assert GANAdam(weights(), fused=False).defaults["fused"] is False


def test_first_step_is_the_learning_rate_against_the_sign() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([5.0, -0.01, 3.0])
    GANAdam([parameter], lr=0.125).step()
    expected = torch.tensor([-0.125, 0.125, -0.125])
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=0)


def test_betas_may_be_integers_as_yaml_writes_them() -> None:
    integer: Any = 0
    optimizer = GANAdam(weights(), beta1=integer)
    assert optimizer.defaults["betas"] == (0.0, 0.999)
    assert all(type(beta) is float for beta in optimizer.defaults["betas"])
    assert_equal(train(optimizer, range(3)), train(GANAdam(weights(), beta1=0.0), range(3)))


@pytest.mark.parametrize("beta", [-0.1, 1.0])
def test_betas_are_checked_by_adam(beta: float) -> None:
    with pytest.raises(ValueError, match="Invalid beta parameter at index 0"):
        GANAdam(weights(), beta1=beta)


def test_parameter_groups() -> None:
    first, second = weights()
    groups: list[dict[str, Any]] = [{"params": [first]}, {"params": [second], "lr": 1.0}]
    optimizer = GANAdam(groups)
    assert [group["lr"] for group in optimizer.param_groups] == [2e-4, 1.0]


def unscales_outside(optimizer: Adam) -> bool:
    return not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_state_dict_round_trip_goes_on_as_if_uninterrupted() -> None:
    expected = train(GANAdam(weights()), range(6))
    first = GANAdam(weights())
    second = GANAdam([nn.Parameter(weight) for weight in train(first, range(3))])
    second.load_state_dict(first.state_dict())
    assert unscales_outside(second)
    assert_equal(train(second, range(3, 6)), expected)


def test_state_loads_from_plain_adam_and_back() -> None:
    plain = Adam(weights(), lr=2e-4, betas=(0.5, 0.999), fused=True)
    middle = train(plain, range(3))
    ours = GANAdam([nn.Parameter(w) for w in middle])
    ours.load_state_dict(copy.deepcopy(plain.state_dict()))
    assert unscales_outside(ours)
    again = Adam([nn.Parameter(w.clone()) for w in middle], fused=True)
    again.load_state_dict(copy.deepcopy(ours.state_dict()))
    expected = train(plain, range(3, 6))
    assert_equal(train(again, range(3, 6)), expected)
    assert_equal(train(ours, range(3, 6)), expected)


@pytest.mark.parametrize("way", ["new", "deepcopy", "pickle"])
def test_unscales_outside_after_copies(way: str) -> None:
    assert not unscales_outside(Adam(weights(), fused=True))  # what this is about
    optimizer = GANAdam(weights())
    if way == "deepcopy":
        optimizer = copy.deepcopy(optimizer)
    if way == "pickle":
        buffer = io.BytesIO()
        torch.save(optimizer, buffer)
        buffer.seek(0)
        optimizer = torch.load(buffer, weights_only=False)
    assert unscales_outside(optimizer)


def scaled_step(gradient: list[float]) -> tuple[list[Tensor], Tensor]:
    """Step from ones under a loss scale of 1024; return what step hooks saw, and the weights."""
    parameter = nn.Parameter(torch.ones(2))
    optimizer = GANAdam([parameter], lr=0.5)
    seen: list[Tensor] = []

    def hook(*_: Any) -> None:
        assert parameter.grad is not None
        seen.append(parameter.grad.clone())

    optimizer.register_step_pre_hook(hook)
    scaler = GradScaler("cpu", init_scale=1024.0)
    loss = (parameter * torch.tensor(gradient)).sum()
    torch.autograd.backward(scaler.scale(loss))
    scaler.step(optimizer)
    scaler.update()
    return seen, parameter.detach()


def test_loss_scale_is_gone_before_the_step() -> None:
    seen, after = scaled_step([2.0, -3.0])
    torch.testing.assert_close(seen, [torch.tensor([2.0, -3.0])], rtol=0, atol=0)
    torch.testing.assert_close(after, torch.tensor([0.5, 1.5]), rtol=1e-5, atol=0)


def test_overflow_takes_no_step() -> None:
    seen, after = scaled_step([float("inf"), 1.0])
    assert not seen
    torch.testing.assert_close(after, torch.ones(2), rtol=0, atol=0)
