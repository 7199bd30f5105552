"""The measurements of a run."""

import json

from lightning_gan.callbacks.history import MOST, History, Measured


def test_long_histories_are_thinned_evenly() -> None:
    history = History()
    for step in range(9 * MOST):
        if step == 3 * MOST + 1:
            history = History.of_state(json.loads(json.dumps(history.state_dict())))
        history.add(Measured(step, {}))
        assert len(history) <= MOST
        assert history[-1].step == step
    steps = [one.step for one in history]
    assert steps[:-1] == list(range(0, steps[-2] + 1, 16))
    assert 0 < steps[-1] - steps[-2] <= 16
