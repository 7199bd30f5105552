"""The experiment's rows, findings and picture; that the dynamics are right, test_dynamics says."""

from typing import Any

import numpy as np
import pytest

from lightning_gan.lab import Row
from lightning_gan.lab.dirac import DiracGAN
from lightning_gan.lab.dirac_figure import NAMED, TELLING

R1_ROW = {"losses": "GAN", "method": "R1 0.3", "updates": "simultaneous"}
PLAIN_ROW = {"losses": "WGAN", "method": "plain", "updates": "simultaneous"}


@pytest.fixture(scope="module")
def experiment() -> DiracGAN:
    return DiracGAN(iterations=160)


@pytest.fixture(scope="module")
def rows(experiment: DiracGAN) -> list[Row]:
    return [trial | experiment.measure(**trial) for trial in (R1_ROW, PLAIN_ROW)]


def changed(row: Row, **values: Any) -> Row:
    return {**row, **values}


def verdicts(experiment: DiracGAN, rows: list[Row]) -> list[bool | None]:
    return [finding.holds for finding in experiment.findings(rows)]


def test_rows_hold_what_was_measured_and_what_theory_says(rows: list[Row]) -> None:
    damped, plain = rows
    imaginary = (0.5**2 - 0.15**2) ** 0.5  # Mescheder et al., f'(0) = 1/2 and gamma = 0.3
    for key in ("eigenvalues", "theory"):
        found = sorted(damped[key], key=lambda pair: float(pair[1]))
        np.testing.assert_allclose(found, [[-0.15, -imaginary], [-0.15, imaginary]], atol=1e-6)
    assert damped["expected_factor"] == pytest.approx(0.97468, abs=1e-5)
    assert damped["factor"] == pytest.approx(0.97468, abs=5e-3)
    assert damped["converges"] is True
    assert plain["expected_factor"] == pytest.approx(1.04**0.5)
    assert plain["factor"] == pytest.approx(1.04**0.5, abs=1e-9)
    assert plain["distance"] == pytest.approx(2**0.5 * 1.04**80)
    assert plain["converges"] is False
    assert plain["trajectory"][0] == [1.0, -1.0]
    assert len(plain["trajectory"]) == 161


def test_a_long_trajectory_is_thinned() -> None:
    row = DiracGAN(rate=0.01, iterations=260).measure(**PLAIN_ROW)
    trajectory = np.array(row["trajectory"])
    assert len(trajectory) == 250
    assert np.linalg.norm(trajectory[-1]) == pytest.approx(row["distance"], abs=1e-4)
    assert np.linalg.norm(trajectory[1] - trajectory[0]) == pytest.approx(0.01 * 2**0.5, rel=1e-2)


def test_unrolling_is_measured_on_an_iteration() -> None:
    row = DiracGAN(iterations=20).measure(losses="GAN", method="unrolled 5", updates="simultaneous")
    found = sorted(row["eigenvalues"], key=lambda pair: float(pair[1]))
    np.testing.assert_allclose(found, [[-0.25, -(3**0.5) / 4], [-0.25, 3**0.5 / 4]], atol=1e-6)


def test_wgan_gp_has_no_eigenvalues() -> None:
    experiment = DiracGAN(iterations=20)
    without = {"losses": "WGAN-GP", "method": "penalty 0.35", "updates": "alternating"}
    row = without | experiment.measure(**without)
    assert all(row[key] is None for key in ("eigenvalues", "theory", "expected_factor"))
    assert (
        experiment.table([row])
        .splitlines()[-1]
        .startswith("| WGAN-GP | penalty 0.35 | alternating | none | none |  | ")
    )
    assert verdicts(experiment, [row]) == [None, True, None, None, None]


def test_findings_hold_of_the_right_rows(experiment: DiracGAN, rows: list[Row]) -> None:
    assert verdicts(experiment, rows) == [True, True, None, True, True]
    assert verdicts(experiment, []) == [None] * 5


def test_a_wrong_theory_or_measurement_is_found(experiment: DiracGAN, rows: list[Row]) -> None:
    damped, plain = rows
    wrong = [[real, imaginary + 2e-6] for real, imaginary in damped["theory"]]
    assert verdicts(experiment, [changed(damped, theory=wrong), plain])[0] is False
    wrong = [[real - 2e-6, imaginary] for real, imaginary in plain["eigenvalues"]]
    assert verdicts(experiment, [damped, changed(plain, eigenvalues=wrong)])[0] is False
    assert verdicts(experiment, [damped, changed(plain, converges=True)])[1] is False
    slow = changed(plain, losses="NSGAN", converges=True)
    assert verdicts(experiment, [damped, slow])[2] is False
    assert verdicts(experiment, [changed(damped, converges=False), plain])[3] is False
    off = damped["expected_factor"] + 0.03
    assert verdicts(experiment, [changed(damped, expected_factor=off), plain])[4] is False


EXTRAGRADIENT = {"losses": "GAN", "method": "extragradient", "updates": "extragradient"}
NSGAN = {"losses": "NSGAN", "method": "plain", "updates": "alternating"}


def test_what_cannot_be_told_in_so_few_iterations_is_left_open() -> None:
    slow = DiracGAN(rate=0.1, iterations=400)  # 1 - 0.05**2 / 2 an iteration: to exp(-0.5)
    row: Row = EXTRAGRADIENT | slow.measure(**EXTRAGRADIENT)
    assert row["factor"] == pytest.approx(1 - 0.05**2 / 2, abs=5e-5)
    finding = slow.findings([row])[3]
    assert (finding.holds, finding.evidence) == (None, "1 expected to be too slow to tell")
    assert slow.table([row]).endswith("| too slow to tell |")
    longer = DiracGAN(rate=0.2, iterations=400)  # 1 - 0.1**2 / 2: to exp(-2)
    assert verdicts(longer, [EXTRAGRADIENT | longer.measure(**EXTRAGRADIENT)])[3] is True


def test_a_power_of_the_iterations_is_no_linear_rate() -> None:
    short = DiracGAN(iterations=100)
    row: Row = NSGAN | short.measure(**NSGAN)
    assert short.findings([row])[2].evidence.endswith("from 0.9944 to 0.9944")
    assert verdicts(short, [row])[2] is True


def test_the_pair_may_come_either_way_round(experiment: DiracGAN, rows: list[Row]) -> None:
    turned = changed(rows[0], theory=rows[0]["theory"][::-1])
    assert verdicts(experiment, [turned])[0] is True


def test_trials_are_distinct_and_include_what_is_drawn() -> None:
    trials = [tuple(trial.values()) for trial in DiracGAN().trials()]
    assert len(set(trials)) == len(trials) == 62
    assert TELLING.keys() <= set(trials)
    assert NAMED.keys() <= {trial[:2] for trial in trials}


def test_table_and_picture(experiment: DiracGAN, rows: list[Row]) -> None:
    head, _, damped, plain = experiment.table(rows).splitlines()
    assert "distance after 160" in head
    pair = "-0.15 ± 0.477i"
    assert damped.startswith(f"| GAN | R1 0.3 | simultaneous | {pair} | {pair} | 0.9747 |")
    assert plain.endswith("| no |")
    figure = experiment.draw(rows)
    *panels, plane = figure.get_axes()
    assert len(panels) == len(TELLING) == 9
    drawn = {axes.get_title(): len(axes.lines) for axes in panels}
    assert drawn["GAN, R1"] == 4  # the axes, the way and its start
    assert drawn["GAN"] == 2
    assert len(plane.texts) == 2
    assert figure.get_suptitle() == experiment.title


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate": 0.0}, "'rate' to be positive"),
        ({"adam_rate": -1.0}, "'adam_rate' to be positive"),
        ({"iterations": 19}, "Expected 'iterations' to be at least 20, got 19"),
    ],
)
def test_refuses(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DiracGAN(**arguments)


def test_refuses_trials_of_others(experiment: DiracGAN) -> None:
    with pytest.raises(ValueError, match="Expected a trial of this experiment"):
        experiment.measure(losses="GAN", method="plain", updates="extragradient")
