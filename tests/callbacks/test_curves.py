from typing import Any

import pytest
import torch
from matplotlib.axes import Axes

from lightning_gan.callbacks.curves import Evaluated, draw_curves

SCORES = {"precision": 0.5, "recall": 0.25, "density": 0.4, "coverage": 0.1}


def test_the_distance_is_found_under_either_name() -> None:
    assert Evaluated(0, {"precision": 0.5, "fid": 3.0}, None).distance == ("fid", 3.0)
    assert Evaluated(0, {"fd/digits": 2.0}, None).distance == ("fd/digits", 2.0)
    assert Evaluated(0, SCORES, None).distance is None


def test_each_curve_is_drawn_as_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    spans: list[tuple[float, float, str | None]] = []
    plot, shade = Axes.plot, Axes.axvspan

    def keep(self: Axes, x: Any, y: Any, *args: Any, **kwargs: Any) -> Any:
        drawn[kwargs.get("label", "distance")] = (list(x), list(y))
        return plot(self, x, y, *args, **kwargs)

    def keep_span(self: Axes, start: float, end: float, **kwargs: Any) -> Any:
        spans.append((start, end, kwargs["label"]))
        return shade(self, start, end, **kwargs)

    monkeypatch.setattr(Axes, "plot", keep)
    monkeypatch.setattr(Axes, "axvspan", keep_span)
    history = [
        Evaluated(0, {"fd/x": 9.0} | SCORES, "garbage"),
        Evaluated(100, {"fd/x": 4.0} | SCORES, "garbage"),
        Evaluated(200, {"fd/x": 2.0} | SCORES | {"recall": 0.9}, "healthy"),
    ]
    picture = draw_curves(history)
    assert picture.shape == (3, 700, 800)
    assert picture.dtype == torch.uint8
    assert drawn["distance"] == ([0, 100, 200], [9.0, 4.0, 2.0])
    assert drawn["recall"] == ([0, 100, 200], [0.25, 0.25, 0.9])
    assert spans[:3] == [(0, 50, "garbage"), (50, 150, None), (150, 200, "healthy")]


@pytest.mark.parametrize("figures", [{"fd/x": 0.0}, SCORES, {"modes": 3.0}])
def test_a_single_evaluation_of_any_kind(figures: dict[str, float]) -> None:
    assert draw_curves([Evaluated(0, figures, None)]).shape == (3, 700, 800)
