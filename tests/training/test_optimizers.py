import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, StepLR

from lightning_gan.cli import main
from lightning_gan.training import GANAdam, LinearSchedule, OptimisticAdam, OptimisticSGD
from lightning_gan.training.optimizers import make_optimizers, scale_learning_rates
from tests.test_cli import points_run, printed_config


def weights(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in [(3, 4), (5,)]]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def train(optimizer: Optimizer, steps: range) -> list[Tensor]:
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


def scaled_step(
    gradient: list[float], kind: type[GANAdam] = GANAdam
) -> tuple[list[Tensor], Tensor]:
    """Step from ones under a loss scale of 1024; return what step hooks saw, and the weights."""
    parameter = nn.Parameter(torch.ones(2))
    optimizer = kind([parameter], lr=0.5)
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


@pytest.mark.parametrize("kind", [GANAdam, OptimisticAdam])
def test_loss_scale_is_gone_before_the_step(kind: type[GANAdam]) -> None:
    seen, after = scaled_step([2.0, -3.0], kind)
    torch.testing.assert_close(seen, [torch.tensor([2.0, -3.0])], rtol=0, atol=0)
    torch.testing.assert_close(after, torch.tensor([0.5, 1.5]), rtol=1e-5, atol=0)


def test_overflow_takes_no_step() -> None:
    seen, after = scaled_step([float("inf"), 1.0])
    assert not seen
    torch.testing.assert_close(after, torch.ones(2), rtol=0, atol=0)


RAMP = LinearSchedule(0.1, 0.0, images=100)
DECAY = LinearSchedule(0.9, 0.99, images=100)


def test_schedules_are_followed() -> None:
    optimizer = GANAdam(weights(), lr=RAMP, beta1=0.3, beta2=DECAY)
    expected = {0: (0.1, 0.9), 25: (0.075, 0.9225), 100: (0.0, 0.99), 999: (0.0, 0.99)}
    for images, (lr, beta2) in expected.items():
        optimizer.follow(images)
        [group] = optimizer.param_groups
        assert group["lr"] == pytest.approx(lr, abs=1e-12)
        assert group["betas"] == pytest.approx((0.3, beta2), abs=1e-12)


def test_scheduled_steps_equal_those_of_adam_with_the_numbers() -> None:
    ours = GANAdam(weights(), lr=RAMP, beta1=0.3, beta2=DECAY)
    reference = Adam(weights(), lr=0.1, betas=(0.3, 0.9), fused=True)
    for step in range(4):
        ours.follow(images=20 * step)
        reference.param_groups[0]["lr"] = 0.1 * (1 - 0.2 * step)
        reference.param_groups[0]["betas"] = (0.3, 0.9 + 0.09 * 0.2 * step)
        pair = [train(optimizer, range(step, step + 1)) for optimizer in (ours, reference)]
        torch.testing.assert_close(*pair, rtol=1e-6, atol=1e-7)


def test_only_what_is_scheduled_follows() -> None:
    optimizer = GANAdam(weights(), beta2=DECAY)
    optimizer.param_groups[0]["lr"] = 7.0  # as a scheduler of torch's sets it
    optimizer.follow(images=100)
    assert optimizer.param_groups[0]["lr"] == 7.0
    assert optimizer.param_groups[0]["betas"][1] == pytest.approx(0.99)
    plain = GANAdam(weights())
    before = copy.deepcopy(plain.state_dict())
    plain.follow(images=100)
    assert plain.state_dict() == before


def test_schedules_are_not_in_the_checkpoint_but_in_copies() -> None:
    optimizer = GANAdam(weights(), lr=RAMP, beta2=DECAY)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    again = GANAdam(weights(), lr=RAMP, beta2=DECAY)
    again.follow(images=77)
    again.load_state_dict(state)
    for copied in (again, copy.deepcopy(optimizer)):
        copied.follow(images=50)
        assert copied.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "'lr' to be non-negative and finite, got -1.0"),
        ({"lr": float("nan")}, "'lr' to be non-negative and finite, got nan"),
        ({"lr": LinearSchedule(0.1, -0.1, 10)}, "'lr' to be non-negative and finite, got Linear"),
        ({"beta2": LinearSchedule(0.9, 1.1, 10)}, r"'beta2' to be in \[0, 1\], got Linear"),
        ({"beta2": LinearSchedule(0.9, 1.0, 10)}, "'beta2' to stay below 1, got Linear"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GANAdam(weights(), **options)


def test_schedule_beside_values_of_groups_is_refused() -> None:
    def groups() -> list[dict[str, Any]]:
        first, second = weights()
        return [{"params": [first]}, {"params": [second], "lr": 1.0}]

    with pytest.raises(ValueError, match=r"without 'lr' of their own .* got 1\.0\."):
        GANAdam(groups(), lr=RAMP)
    assert GANAdam(groups(), beta2=DECAY).param_groups[1]["lr"] == 1.0


def test_schedule_beside_a_scheduler_is_refused() -> None:
    def plan(optimizer: Optimizer) -> StepLR:
        return StepLR(optimizer, 1)

    network = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="Expected no 'lr_scheduler_g' or 'lr_scheduler_d'"):
        make_optimizers([network], [lambda p: GANAdam(p, lr=RAMP)], [plan])
    made, plans = make_optimizers([network], [lambda p: GANAdam(p, beta2=DECAY)], [plan])
    assert len(made) == len(plans) == 1


def test_schedules_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = points_run(
        tmp_path,
        "WGANGP",
        *("--model.optimizer_g.lr", "1e-3"),
        *("--model.optimizer_d", "OptimisticAdam", "--model.optimizer_d.lr", "LinearSchedule"),
        *("--model.optimizer_d.lr.start", "1e-3", "--model.optimizer_d.lr.end", "0"),
        *("--model.optimizer_d.lr.images", "1000"),
    )
    config = printed_config(capsys, *arguments)
    model = config["model"]["init_args"]
    assert model["optimizer_g"]["init_args"]["lr"] == 1e-3
    assert model["optimizer_d"]["init_args"]["lr"]["init_args"]["images"] == 1000
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path), "--trainer.fast_dev_run", "true"])


def gradients_of(step: int) -> list[Any]:
    """Return what `give_gradients` gives, in double precision."""
    parameters = weights()
    give_gradients(parameters, step)
    return [p.grad.double().numpy() for p in parameters if p.grad is not None]


@pytest.mark.parametrize("fused", [True, False])
def test_optimistic_adam_equals_the_algorithm(fused: bool) -> None:
    lr, beta1, beta2, eps = 0.01, 0.5, 0.9, 1e-8
    expected = [p.detach().double().numpy() for p in weights()]
    means, squares, previous = [0.0, 0.0], [0.0, 0.0], [np.zeros(()), np.zeros(())]
    for t in range(1, 6):
        for i, gradient in enumerate(gradients_of(t)):
            means[i] = beta1 * means[i] + (1 - beta1) * gradient
            squares[i] = beta2 * squares[i] + (1 - beta2) * gradient**2
            mean, square = means[i] / (1 - beta1**t), squares[i] / (1 - beta2**t)
            update = lr * mean / (np.sqrt(square) + eps)
            before = update if t == 1 else previous[i]
            expected[i] = expected[i] - 2 * update + before
            previous[i] = update
    optimizer = OptimisticAdam(weights(), lr=lr, beta1=beta1, beta2=beta2, eps=eps, fused=fused)
    actual = train(optimizer, range(1, 6))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, torch.from_numpy(e).float(), rtol=1e-5, atol=1e-6)


def circle(optimizer: Any, steps: int, lr: float = 0.2) -> Tensor:
    """Play min_x max_y x y from (1, 1), both at once; return all places, (steps + 1, 2)."""
    x, y = (nn.Parameter(torch.ones((), dtype=torch.float64)) for _ in range(2))
    players = optimizer([x], lr=lr), optimizer([y], lr=lr)
    places = [torch.stack([x, y]).detach()]
    for _ in range(steps):
        x.grad, y.grad = y.detach().clone(), -x.detach().clone()
        for player in players:
            player.step()
        places.append(torch.stack([x, y]).detach())
    return torch.stack(places)


def test_optimism_ends_the_rotation_of_a_bilinear_game() -> None:
    z, before = np.array([1.0, 1.0]), np.array([1.0, -1.0])
    expected = [z]
    for _ in range(500):
        field = np.array([z[1], -z[0]])
        z = z - 2 * 0.2 * field + 0.2 * before
        before = field
        expected.append(z)
    places = circle(OptimisticSGD, 500)
    torch.testing.assert_close(places, torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-12)
    assert places[-1].norm() < 1e-4
    plain = circle(SGD, 500)[-1].norm()
    torch.testing.assert_close(float(plain), 2**0.5 * 1.04**250, rtol=1e-9, atol=0)


OPTIMISTIC = [
    lambda params: OptimisticAdam(params, lr=0.1),
    lambda params: OptimisticSGD(params, lr=0.1, momentum=0.5, weight_decay=0.1),
]


@pytest.mark.parametrize("make", OPTIMISTIC)
def test_hooks_see_each_optimistic_step_once_and_its_result(make: Any) -> None:
    optimizer = make(weights())
    parameters = optimizer.param_groups[0]["params"]
    before, after = [], []
    optimizer.register_step_pre_hook(lambda *_: before.append(copy.deepcopy(parameters)))
    optimizer.register_step_post_hook(lambda *_: after.append(copy.deepcopy(parameters)))
    results = [train(optimizer, range(step, step + 1)) for step in range(3)]
    assert len(before) == len(after) == 3
    for seen, result in zip(after, results, strict=True):
        assert_equal([p.detach() for p in seen], result)
    for seen, result in zip(before[1:], results[:-1], strict=True):
        assert_equal([p.detach() for p in seen], result)


@pytest.mark.parametrize("make", OPTIMISTIC)
def test_optimism_resumes_exactly(make: Any) -> None:
    expected = train(make(weights()), range(6))
    first = make(weights())
    second = make([nn.Parameter(weight) for weight in train(first, range(3))])
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert_equal(train(second, range(3, 6)), expected)


@pytest.mark.parametrize("make", OPTIMISTIC)
def test_parameters_without_gradient_are_left_alone(make: Any) -> None:
    moved, left = weights()
    start = left.detach().clone()
    optimizer = make([moved, left])
    for step in range(3):
        give_gradients([moved], step)
        optimizer.step()
    assert torch.equal(left.detach(), start)
    assert left not in optimizer.state
    alone = make([weights()[0]])
    assert_equal([moved.detach()], train(alone, range(3)))


def test_optimism_takes_back_the_step_of_an_earlier_learning_rate() -> None:
    parameter = nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = OptimisticSGD([parameter], lr=1.0)
    scheduler = ExponentialLR(optimizer, 0.25)
    places = []
    for _ in range(3):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
        places.append(float(parameter.detach()))
    # Steps of 1, 1/4 and 1/16: -1; -1 - 2/4 + 1; -1/2 - 2/16 + 1/4.
    assert places == [-1.0, -0.5, -0.375]


@pytest.mark.parametrize("make", OPTIMISTIC)
def test_closure_gives_the_gradients_and_the_loss(make: Any) -> None:
    first, second = (nn.Parameter(torch.full((2,), 3.0)) for _ in range(2))

    def closure() -> Tensor:
        loss = first.square().sum()
        loss.backward()
        return loss.detach()

    assert make([first]).step(closure) == 18.0
    second.grad = torch.full((2,), 6.0)
    make([second]).step()
    assert_equal([first.detach()], [second.detach()])
    assert not torch.equal(first.detach(), torch.full((2,), 3.0))


@pytest.mark.parametrize("kind", [GANAdam, OptimisticAdam, SGD, OptimisticSGD])
def test_steps_with_a_share_of_the_rates_whatever_sets_these(kind: Any) -> None:
    share = [1.0]
    optimizer, reference = kind(weights(), lr=0.1), kind(weights(), lr=0.1)
    plans = [StepLR(one, 2, 0.5) for one in (optimizer, reference)]
    handles = scale_learning_rates(optimizer, lambda: share[0])
    for step in range(6):
        share[0] = 0.25 if step >= 3 else 1.0
        train(optimizer, range(step, step + 1))
        full = reference.param_groups[0]["lr"]
        reference.param_groups[0]["lr"] = share[0] * full
        train(reference, range(step, step + 1))
        reference.param_groups[0]["lr"] = full
        assert optimizer.param_groups[0]["lr"] == full == 0.1 * 0.5 ** (step // 2)
        for plan in plans:
            plan.step()
    for handle in handles:
        handle.remove()
    assert_equal(train(optimizer, range(6, 8)), train(reference, range(6, 8)))


def test_scales_the_rate_that_a_schedule_sets_and_each_group() -> None:
    first, second = weights()
    groups: list[dict[str, Any]] = [{"params": [first], "lr": 1.0}, {"params": [second]}]
    optimizer = SGD(groups, lr=torch.tensor(0.5))
    scale_learning_rates(optimizer, lambda: 0.5)
    before = [p.detach().clone() for p in (first, second)]
    first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
    optimizer.step()
    assert_equal([first.detach(), second.detach()], [before[0] - 0.5, before[1] - 0.25])
    scheduled = GANAdam(weights(), lr=LinearSchedule(0.5, 0.0, images=100))
    reference = GANAdam(weights(), lr=0.0625)
    scale_learning_rates(scheduled, lambda: 0.25)
    scheduled.follow(50)
    assert_equal(train(scheduled, range(1)), train(reference, range(1)))
