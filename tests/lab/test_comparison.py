"""Methods beside each other: what is built of YAML, what a row holds, what the seeds say."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lightning_gan import GAN, R3GAN
from lightning_gan.lab.catalog import entries, packaged
from lightning_gan.lab.comparison import Comparison
from lightning_gan.lab.experiment import Row
from lightning_gan.lab.judged_run import best_of
from lightning_gan.lab.judges import MixtureJudge
from lightning_gan.lab.published import published_rows, read_bars
from lightning_gan.lab.recipes import Recipe, recipe
from lightning_gan.lab.standings import Spread, Standing, standings
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training import GANAdam, LinearSchedule

OURS = [e.name for e in entries() if packaged(e.name).experiment_class() is Comparison]

ADAM = {"class_path": "GANAdam", "init_args": {"lr": 1e-3, "beta2": 0.999}}
MODEL = {
    "class_path": "GAN",
    "init_args": {
        "generator": {"class_path": "MLPGenerator", "init_args": {"hidden": [8]}},
        "discriminator": {"class_path": "MLPDiscriminator", "init_args": {"hidden": [8]}},
        "optimizer_g": ADAM,
        "optimizer_d": ADAM,
    },
}
SCHEDULE = {
    "class_path": "LinearSchedule",
    "init_args": {"start": 0.1, "end": 0.0, "images": "50%"},
}
METHODS: dict[str, Any] = {
    "plain": {},
    "R1": {"init_args": {"penalties": [{"class_path": "R1", "init_args": {"weight": SCHEDULE}}]}},
    "ahead": {"run": {"callbacks": [{"class_path": "LookaheadMinimax"}], "steps": 3}},
}
DATA = {"class_path": "GaussianMixture", "init_args": {"num_samples": 200, "batch_size": 20}}


def comparison(**changes: Any) -> Comparison:
    options: dict[str, Any] = {
        "name": "toy",
        "title": "A comparison",
        "data": DATA,
        "model": MODEL,
        "methods": METHODS,
        "judge": {"class_path": "MixtureJudge", "init_args": {"num_samples": 50}},
        "baseline": "plain",
        "steps": 4,
        "seeds": [0, 1],
        "every_n_steps": 2,
    }
    return Comparison(**options | changes)


def row(method: str, seed: int, modes: float, kl: float | None, recipe: str, **more: Any) -> Row:
    figures = {"modes": modes, "high_quality": 10 * modes, "reverse_kl": kl}
    best = {"step": 2, "which": "last", **figures}
    identity = {"method": method, "seed": seed, "steps": 4, "recipe": recipe}
    curve = [{"step": step, "average": figures, "last": figures} for step in (2, 4)]
    both = {"average": figures, "last": figures, "best": best, "real": figures | {"modes": 8.0}}
    rest: Row = {"ms": 1.0, "images": 80, "note": "", "alarms": [], "curve": curve}
    samples = {"average": [[0.0, 1.0]], "last": [[0.0, 1.0]]}
    return identity | both | rest | {"samples": samples} | more


def rows_of(experiment: Comparison, **modes: Sequence[float]) -> list[Row]:
    recipes = {method: experiment._recipe(method, 4).digest() for method in METHODS}
    return [
        row(method, seed, value, 1 / (1 + value), recipes[method])
        for method, values in modes.items()
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize("name", OURS)
def test_packaged_comparisons_can_be_built(name: str) -> None:
    """The methods of the long ones are built by whoever runs them, before any training."""
    arguments = packaged(name).init_args
    experiment = Comparison(**arguments | {"only": list(arguments["methods"])[-1]})
    assert experiment.name == name
    assert len(list(experiment.trials())) == len(experiment.seeds)


def test_rows_of_other_methods_are_refused_in_words() -> None:
    rows = [row("plain", 0, 8.0, 0.1, "another digest"), row("mine", 0, 8.0, 0.1, "a third")]
    with pytest.raises(ValueError, match=r"'methods' as .*, got rows of \['plain', 'mine'\]"):
        comparison().draw(rows)


def test_a_method_is_what_differs() -> None:
    shared = Recipe(MODEL, DATA, (), 10, 0.999)
    change = {
        "class_path": "R3GAN",
        "init_args": {
            "discriminator": {"init_args": {"hidden": None, "num_outputs": 1}},
            "gamma": SCHEDULE,
            "optimizer_g": {"init_args": {"lr": SCHEDULE}},
        },
        "run": {"data": {"init_args": {"layout": "grid"}}, "steps": 20, "ema_decay": 0.5},
    }
    made = recipe(shared, change)
    model = made.build_model(batch_size=6)
    assert isinstance(model, R3GAN)
    assert isinstance(model.generator, MLPGenerator)
    assert isinstance(model.discriminator, MLPDiscriminator)
    assert model.discriminator.layers[1].out_features == 128  # type: ignore[index]
    assert isinstance(model.gamma, LinearSchedule)
    assert model.gamma.images == 0.5 * 20 * 6
    optimizers: Any = model.configure_optimizers()
    adam_g, adam_d = optimizers[0] if isinstance(optimizers, tuple) else optimizers
    assert isinstance(adam_g, GANAdam)
    assert adam_g.schedules["lr"].end == 0.0
    assert adam_g.param_groups[0]["betas"][1] == 0.999
    assert adam_d.param_groups[0]["lr"] == 1e-3
    assert len(made.build_data().centers) == 25  # type: ignore[attr-defined]
    assert (made.steps, made.ema_decay, made.callbacks) == (20, 0.5, ())
    assert type(shared.build_model(6)) is GAN


def test_digest_of_a_recipe_changes_with_whatever_does_but_the_steps() -> None:
    shared = Recipe(MODEL, DATA, (), 10, 0.999)
    changes: list[Any] = [
        {"init_args": {"n_critic": 2}},
        {"run": {"ema_decay": 0.9}},
        {"run": {"callbacks": [{"class_path": "LookaheadMinimax"}]}},
        {"run": {"data": {"init_args": {"layout": "grid"}}}},
    ]
    digests = {recipe(shared, change).digest() for change in [{}, *changes]}
    assert len(digests) == 5
    assert recipe(shared, {"run": {"steps": 3}}).digest() == shared.digest()


def test_trials_and_what_one_finds() -> None:
    experiment = comparison(only=["R1", "ahead"])
    trials = list(experiment.trials())
    assert [(t["method"], t["seed"], t["steps"]) for t in trials] == [
        ("R1", 0, 4),
        ("ahead", 0, 3),
        ("R1", 1, 4),
        ("ahead", 1, 3),
    ]
    found = experiment.measure(**trials[0])
    assert {k: v for k, v in experiment.measure(**trials[0]).items() if k != "ms"} == {
        k: v for k, v in found.items() if k != "ms"
    }
    assert found["images"] == 4 * 20
    assert [point["step"] for point in found["curve"]] == [2, 4]
    assert found["curve"][-1]["last"] == found["last"] != found["real"]
    assert found["ms"] > 0
    assert found["alarms"] == []
    other = experiment.measure(**trials[1])
    assert [point["step"] for point in other["curve"]] == [2, 3]
    assert other["samples"]["last"] != other["samples"]["average"]


def test_best_point_is_the_one_of_the_lowest_divergence() -> None:
    def figures(kl: float | None) -> Row:
        return {"modes": 1.0, "reverse_kl": kl}

    points = [
        {"step": 1, "average": figures(None), "last": figures(0.5)},
        {"step": 2, "average": figures(0.2), "last": figures(0.3)},
    ]
    assert best_of(points) == {"step": 2, "which": "average", "modes": 1.0, "reverse_kl": 0.2}
    nothing = [{"step": 1, "average": figures(None), "last": figures(None)}]
    assert best_of(nothing)["reverse_kl"] is None


@pytest.mark.parametrize(
    ("plain", "other", "holds"),
    [
        ([2.0, 3.0], [7.0, 8.0], True),
        ([2.0, 3.0], [2.5, 3.5], False),
        ([7.0, 8.0], [2.0, 3.0], False),
        ([2.0], [7.0, 8.0], None),
        ([2.0, 3.0], [7.0], None),
    ],
)
def test_a_method_helps_where_it_gains_more_than_seeds_differ(
    plain: list[float], other: list[float], holds: bool | None
) -> None:
    experiment = comparison()
    [finding] = experiment.findings(rows_of(experiment, plain=plain, R1=other))
    assert finding.claim == "R1 helps, beside plain, 4 steps."
    assert finding.holds is holds


def test_trainings_of_different_lengths_do_not_tell_who_helps() -> None:
    experiment = comparison()
    rows = rows_of(experiment, plain=[2.0, 3.0], R1=[7.0, 8.0])
    longer = [row | {"steps": 40} if row["method"] == "R1" else row for row in rows]
    [finding] = experiment.findings(longer)
    assert finding.claim == "R1 helps, beside plain, 40 steps against 4."
    assert finding.holds is None


def test_spread_over_seeds_and_its_difference() -> None:
    def standing(*values: float | None) -> Standing:
        rows = [row("a", i, 1.0, value, "") for i, value in enumerate(values)]
        return Standing("a", 4, "average", tuple(rows))

    spread = standing(1.0, None, 2.0).spread("reverse_kl")
    assert (spread.mean, spread.of) == (1.5, 3)
    assert spread.std == pytest.approx(math.sqrt(0.5))
    assert Spread((), 2).text(1) == "-"
    count = MixtureJudge.counts["reverse_kl"]
    outcomes = {
        name: standing(*values).outcome(standing(1.0, 3.0), "reverse_kl", count)
        for name, values in {
            "lower": (0.1, 0.2),
            "alike": (1.5, 1.6),
            "higher": (4.0, 4.5),
            "lower where there is one": (0.1, None, 0.2),
            "undefined": (None, None),
        }.items()
    }
    assert list(outcomes.values()) == ["better", "no difference", "worse", "worse", "worse"]
    gone, some = standing(None, None), standing(None, 0.1)
    assert some.outcome(gone, "reverse_kl", count) == "cannot tell"
    assert standing(5.0, 6.0).outcome(gone, "reverse_kl", count) == "better"
    assert standing(None).outcome(standing(1.0), "reverse_kl", count) == "cannot tell"


def test_more_than_the_data_reach_is_no_better() -> None:
    count = MixtureJudge.counts["high_quality"]
    assert count.gain(99.9, 98.889) == pytest.approx(0.0, abs=1e-3)
    assert count.gain(90.0, 99.9) == pytest.approx(-8.889, abs=1e-3)
    assert MixtureJudge.counts["reverse_kl"].gain(0.1, 0.3) == pytest.approx(0.2)


def test_a_diverged_run_is_a_result() -> None:
    rates = {"class_path": "SGD", "init_args": {"lr": 1e30, "beta2": None}}
    method = {"init_args": {"optimizer_g": rates, "optimizer_d": rates}}
    experiment = comparison(methods={"plain": {}, "wild": method}, bars={"modes": ">= 0"})
    [_, wild, *_] = experiment.trials()
    found = experiment.measure(**wild)
    assert found["ended"].startswith("Expected finite values in training")
    assert found["average"] == {"modes": 0.0, "high_quality": 0.0, "reverse_kl": None}
    good = row("wild", 1, 8.0, 0.1, wild["recipe"])
    whole = standings([wild | found, good], {"wild": "average"})[0]
    assert whole.spread("modes").mean == 4.0
    assert not whole.spread("reverse_kl").complete


def test_bars() -> None:
    experiment = comparison(bars={"modes": ">= 7.5", "reverse_kl": "<= 0.12"})
    rows = rows_of(experiment, plain=[8.0, 8.0], R1=[7.0, 8.0], ahead=[1.0, 8.0])
    r1, ahead = experiment.findings(rows)[:2]
    assert (r1.holds, ahead.holds) == (True, False)  # modes 7.5 and 4.5, divergence 0.118
    assert "modes >= 7.5, reverse KL, nats <= 0.12" in r1.claim
    assert "2 seeds, average generator" in r1.evidence
    stricter = comparison(bars={"modes": ">= 7.5", "reverse_kl": "<= 0.11"})
    assert stricter.findings(rows)[0].holds is False


def test_table_and_figure() -> None:
    paper = {"method": "PacGAN", "figures": {"modes": [7.9, 0.1]}, "steps": 100, "batch_size": 5}
    experiment = comparison(published=[paper], bars={"modes": ">= 7"})
    rows = rows_of(experiment, plain=[2.0, 3.0], R1=[7.0, 8.0], ahead=[1.0, 1.0])
    rows[2] |= {"alarms": [{"name": "collapse", "step": 30}, {"name": "collapse", "step": 20}]}
    lines = experiment.table(rows).splitlines()
    assert len(lines) == 2 + 3 + 1 + 1
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert "| R1 | 7.5 ± 0.7 |" in lines[3]
    assert "collapse (1 of 2, from 20)" in lines[3]
    assert "`lightning-gan lab toy --only R1 --seeds '[0,1]' --steps 4`" in lines[3]
    experiment.called = "lightning-gan lab mine --config my.yaml"
    assert "`lightning-gan lab mine --config my.yaml --only R1" in experiment.table(rows)
    assert "PacGAN (published) | 7.9 ± 0.1 |" in lines[-1]
    assert "100 steps, 500 samples" in lines[-1]
    figure = experiment.draw(rows)
    FigureCanvasAgg(figure).draw()
    bare = [{name: value for name, value in row.items() if name != "samples"} for row in rows]
    FigureCanvasAgg(experiment.draw(bare)).draw()
    texts = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert texts[:4] == ["R1", "plain", "ahead", "PacGAN (paper)"]


def test_rows_of_an_earlier_recipe_are_left_out() -> None:
    experiment = comparison()
    rows = [*rows_of(experiment, plain=[2.0]), row("plain", 1, 8.0, 0.1, "another1")]
    assert "| plain | 2.0 |" in experiment.table(rows)
    assert experiment.table([row("gone", 0, 8.0, 0.1, "another1")]) == ""


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "class": ({"class_path": "GANN"}, "In the method 'wrong': Expected a dot import path .* GANN"),
    "argument": ({"init_args": {"n_critc": 2}}, "'wrong': .*Option 'n_critc' is not accepted"),
    "value": ({"init_args": {"n_critic": 0}}, "'wrong': Expected 'n_critic' to be at least 1"),
    "key": ({"penalties": []}, r"'wrong': Expected only \['class_path', .* got 'penalties'"),
    "run": ({"run": {"stepz": 1}}, r"'wrong': Expected only \['data', .* got 'stepz'"),
    "callback": ({"run": {"callbacks": [{"class_path": "Oops"}]}}, "'wrong': .*Oops"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_a_method_show_before_any_training(mistake: str) -> None:
    method, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as error:
        list(comparison(methods={"plain": {}, "wrong": method}).trials())
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "'steps' to be at least 1, got 0"),
        ({"every_n_steps": 0}, "'every_n_steps' to be at least 1, got 0"),
        ({"seeds": []}, "'seeds' to hold at least one"),
        ({"baseline": "none"}, "'baseline' to be one of .*, got 'none'"),
        ({"only": "none"}, "'only' to be one of .*, got 'none'"),
        ({"judged": "first"}, "'judged' to be one of .*, got 'first'"),
        ({"judged": {"plain": "first"}}, "'judged' to be one of .*, got 'first'"),
        ({"judged": {"none": "last"}}, "'judged' to be one of .*, got 'none'"),
        ({"bars": {"modes": "> 8"}}, r"'bars' such as '>= 24\.8' or '<= 0\.04', got '> 8'"),
        ({"bars": {"recall": ">= 8"}}, "figures of 'bars' to be among .*, got 'recall'"),
        ({"published": [{"figures": {"recall": 1}, "method": "a"}]}, "'published' to be among"),
        ({"published": [{"figure": 1}]}, "'published' to hold .*, got"),
        ({"judge": {"class_path": "Jury"}}, "Jury"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        comparison(**changes)


def test_data_of_another_judge() -> None:
    with pytest.raises(ValueError, match=r"In the method 'plain': .* got Digits"):
        list(comparison(data={"class_path": "Digits"}).trials())


def test_bars_and_published_rows_as_yaml_has_them() -> None:
    counts = comparison()._judge.counts
    [bar] = read_bars({"reverse_kl": "<=0.04"}, counts)
    assert (bar.at_least, bar.value) == (False, 0.04)
    assert [bar.reached(value) for value in (0.04, 0.05, None)] == [True, False, False]
    [paper] = published_rows([{"method": "a", "figures": {"modes": 3}}], counts)
    assert (paper.text("modes"), paper.text("reverse_kl"), paper.images) == ("3", "-", None)
    assert torch.get_num_threads() == 1
