"""Multiplicative noise against its mean and variance."""

import torch
from torch import nn

from lightning_gan.layers import MultiplicativeNoise, add_noise


def test_mean_and_variance() -> None:
    noise = MultiplicativeNoise()
    noise.strength.fill_(0.1)
    torch.manual_seed(0)
    x = torch.full((50, 4, 50, 50), 3.0)
    y = noise(x)
    torch.testing.assert_close(y.mean(), torch.tensor(3.0), rtol=0, atol=0.01)
    # 3 * 0.1 * sqrt(4)
    torch.testing.assert_close(y.std(), torch.tensor(0.6), rtol=0, atol=0.005)
    assert noise(torch.zeros_like(x)).eq(0).all()


def test_nothing_changes_at_the_start_and_in_evaluation() -> None:
    noise, x = MultiplicativeNoise(), torch.randn(2, 3, 4, 4)
    assert torch.equal(noise(x), x)
    noise.strength.fill_(0.5)
    assert not torch.equal(noise(x), x)
    assert torch.equal(noise.eval()(x), x)


def test_noise_is_in_front_of_the_larger_kernels_alone() -> None:
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Linear(4, 4))
    noise = add_noise(net)
    assert len(net) == 3
    seen: list[torch.Tensor] = []
    for layer in net:
        # Registered later, so that it sees what the noise made of the input.
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    noise.strength.fill_(0.5)
    x = torch.randn(2, 2, 4, 4)
    first = net[0](x)
    second = net[1](first)
    net[2](second)
    assert torch.equal(seen[0], x)
    assert not torch.equal(seen[1], first)
    assert torch.equal(seen[2], second)
    noise.eval()
    net[1](first)
    assert torch.equal(seen[3], first)


def test_gradients_and_second_derivatives() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh())
    add_noise(net).strength.fill_(0.3)
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    net.double()

    def run(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        y: torch.Tensor = net(x)
        return y

    assert torch.autograd.gradcheck(run, x)
    assert torch.autograd.gradgradcheck(run, x)
