"""The digits are what they claim to be, and the sweep learns them."""

import jax
import numpy as np
import pytest

from domain.kernels import digits, mlp, probe, probe_size, trivial


def test_digits_are_the_published_test_set():
    rows = np.array([line.split(b",") for line in digits.text().splitlines()], dtype=int)
    assert rows.shape == (1797, 65)
    assert np.bincount(rows[:, 64]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (rows[:, :64].min(), rows[:, :64].max()) == (0, 16)


def test_digits_are_split_without_loss_or_overlap():
    split = digits.load()
    assert [len(part) for part in split] == [1197, 1197, 300, 300, 300, 300]
    images = np.concatenate([split.train_x, split.validation_x, split.test_x])
    labels = np.concatenate([split.train_y, split.validation_y, split.test_y])
    rows = np.array([line.split(b",") for line in digits.text().splitlines()], dtype=np.float32)
    rows[:, :64] /= 16
    together = np.concatenate([images, labels[:, None].astype(np.float32)], axis=1)
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, rows.tolist()))
    assert all(np.bincount(part, minlength=10).min() >= 15 for part in split[1::2])


def test_digits_refuse_a_damaged_file(monkeypatch):
    monkeypatch.setattr(digits, "TEXT_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="damaged"):
        digits.text()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sweep_learns_the_digits_at_good_settings(seed):
    row = {"learning_rate": np.float32(0.3), "weight_decay": np.float32(0), "seed": np.uint32(seed)}
    found = jax.jit(mlp.sweep)(digits.load().arrays(), row)
    assert found["test_accuracy"] >= 0.96
    assert found["losses"].shape == (mlp.STEPS // mlp.REPORT,)
    assert found["losses"][-1] < 0.1 * found["losses"][0]


def test_trivial_kernel_squares_and_adds_one():
    assert trivial.square_plus_one({}, {"x": np.float32(3)})["y"] == 10


def test_probes_do_the_work_that_they_are_counted_for():
    start = {"start": np.float32(1)}
    sums = jax.jit(probe.products)({}, start)["sum"]
    assert sums == pytest.approx(probe_size.SIDE, rel=1e-4)
    passed = jax.jit(probe.copies)({}, start)
    assert passed["first"] == 1 + sum(range(probe_size.PASSES))
