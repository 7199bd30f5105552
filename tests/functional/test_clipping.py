import pytest
import torch
from torch import nn

from lightning_gan.functional import clip_weights_


def test_every_parameter_is_clamped_and_no_buffer() -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.02)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    clip_weights_(network, 0.01)
    after = network.state_dict()
    for name, parameter in network.named_parameters():
        expected = torch.minimum(
            torch.maximum(before[name], torch.tensor(-0.01)), torch.tensor(0.01)
        )
        torch.testing.assert_close(after[name], expected, rtol=0, atol=0)
        assert parameter.requires_grad
        assert parameter.grad is None
    assert after["0.weight"].abs().max().item() == pytest.approx(0.01)
    torch.testing.assert_close(after["1.running_var"], torch.ones(5), rtol=0, atol=0)


def test_parameters_stay_the_same_tensors() -> None:
    layer = nn.Linear(2, 2)
    places = [(id(p), p.data_ptr()) for p in layer.parameters()]
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    clip_weights_(layer, 0.25)
    assert [(id(p), p.data_ptr()) for p in layer.parameters()] == places
    assert max(p.abs().max().item() for p in layer.parameters()) <= 0.25


def test_critic_of_clipped_weights_has_a_bounded_slope() -> None:
    """A linear critic's slope is at most c sqrt(D)."""
    critic = nn.Linear(16, 1)
    nn.init.constant_(critic.weight, -7.0)
    clip_weights_(critic, 0.5)
    torch.testing.assert_close(critic.weight.norm(), torch.tensor(2.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("bound", [0, -0.01, float("nan")])
def test_wrong_bound(bound: float) -> None:
    with pytest.raises(ValueError, match=f"Expected 'bound' to be above 0, got {bound}"):
        clip_weights_(nn.Linear(1, 1), bound)
