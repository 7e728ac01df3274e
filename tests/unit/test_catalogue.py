"""The catalogue's kernels beside numpy and closed forms, and as programs."""

import math

import jax
import numpy as np
import pytest

from domain.kernels import heat, lorenz, mandelbrot, mlp, option, spectrum, transformer
from domain.kernels.catalogue import CATALOGUE, build
from services.programs.admission import inspect
from services.programs.export import export_program, load

SMALL = {
    "product": {"side": 24},
    "solve": {"side": 24, "sides": 2},
    "spectrum": {"samples": 128},
    "option": {"paths": 500},
    "mlp": {"steps": 1},
    "mandelbrot": {"side": 16, "rounds": 20},
    "transformer": {"length": 8, "head_width": 4, "heads": 2},
    "heat": {"side": 12, "steps": 10},
    "lorenz": {"steps": 20},
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_kernel_is_admitted_on_every_platform_at_its_defaults(name):
    program = build(name)
    found = inspect(export_program(program.function, program.shared, program.row))
    assert found.platforms == ("cpu", "cuda", "tpu")
    assert found.meter.flops > 0


@pytest.mark.parametrize("name", CATALOGUE)
def test_kernel_runs_as_a_program_on_the_inputs_that_it_draws(name):
    program = build(name, **SMALL.get(name, {}))
    shared, mapped = program.inputs(7, 3)
    again = program.inputs(7, 3)
    jax.tree.map(np.testing.assert_array_equal, (shared, mapped), again)
    loaded = load(export_program(program.function, program.shared, program.row))
    row = {name: array[2] for name, array in mapped.items()}
    found = jax.jit(loaded.call)(shared, row)
    expected = jax.jit(program.function)(shared, row)
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5), found, expected)


def test_other_seeds_draw_other_inputs():
    program = build("product", side=4)
    assert not np.array_equal(program.inputs(1, 2)[1]["right"], program.inputs(2, 2)[1]["right"])


@pytest.mark.parametrize(
    ("name", "chosen", "words"),
    [
        ("nothing", {}, "there are square, product"),
        ("product", {"width": 3}, "it has side"),
        ("product", {"side": 0}, "from 1 to 4096"),
        ("product", {"side": 2.5}, "whole number"),
        ("product", {"side": True}, "whole number"),
        ("square", {"side": 1}, "it has none"),
    ],
)
def test_catalogue_refuses_what_it_does_not_have(name, chosen, words):
    with pytest.raises(ValueError, match=words):
        build(name, **chosen)


@pytest.mark.parametrize("name", CATALOGUE)
def test_parameters_are_within_their_own_ranges(name):
    for parameter in CATALOGUE[name].parameters:
        assert parameter.least <= parameter.default <= parameter.most


def test_product_and_solution_are_those_of_numpy():
    random = np.random.default_rng(0)
    left, right = random.standard_normal((2, 24, 24), dtype=np.float32)
    program = build("product", side=24)
    np.testing.assert_allclose(program.function({"left": left}, {"right": right})["product"], left @ right, rtol=1e-3)
    program = build("solve", side=24, sides=2)
    shared, mapped = program.inputs(0, 1)
    found = program.function(shared, {"sides": mapped["sides"][0]})
    expected = np.linalg.solve(shared["matrix"].astype(float), mapped["sides"][0])
    np.testing.assert_allclose(found["solution"], expected, rtol=1e-4, atol=1e-6)


def test_spectrum_of_a_sine_is_a_line_and_adds_up_to_the_mean_square():
    time = np.arange(256)
    found = spectrum.power((3 * np.sin(2 * np.pi * 20 * time / 256)).astype(np.float32))
    assert found.argmax() == 20
    np.testing.assert_allclose(found[20], 9 / 2, rtol=1e-5)
    noise = np.random.default_rng(0).standard_normal(256, dtype=np.float32)
    np.testing.assert_allclose(spectrum.power(noise).sum(), (noise**2).mean(), rtol=1e-5)


def black_scholes(terms):
    """F. Black, M. Scholes, The pricing of options and corporate liabilities, 1973."""
    spread = terms.volatility * math.sqrt(terms.maturity)
    upper = (math.log(terms.spot / terms.strike) + (terms.rate + terms.volatility**2 / 2) * terms.maturity) / spread

    def below(x):
        return (1 + math.erf(x / math.sqrt(2))) / 2

    return terms.spot * below(upper) - terms.strike * math.exp(-terms.rate * terms.maturity) * below(upper - spread)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_option_price_is_that_of_black_and_scholes_within_its_error(seed):
    terms = option.Terms(*map(np.float32, (100, 105, 0.03, 0.2, 1)))
    found = option.call_price(terms, np.uint32(seed), paths=100_000)
    assert found.error < 0.03
    assert abs(found.price - black_scholes(terms)) < 4 * found.error


def test_mandelbrot_counts_rounds_as_a_plain_loop_does():
    side, rounds = 12, 40
    found = mandelbrot.escape(np.float32(-2), np.float32(-1.2), np.float32(2.4), side=side, rounds=rounds)
    for row in range(side):
        for column in range(side):
            c = complex(-2 + column * 2.4 / side, -1.2 + row * 2.4 / side)
            z, count = 0j, -1
            while count < rounds - 1 and abs(z) <= 2:
                z, count = z * z + c, count + 1
            assert abs(int(found[row, column]) - count) <= 1


def test_attention_sees_no_later_token():
    program = build("transformer", **SMALL["transformer"])
    shared, mapped = program.inputs(0, 1)
    weights, tokens = transformer.Weights(**shared), mapped["tokens"][0]
    changed = tokens.copy()
    changed[5:] += 1
    before, after = (transformer.block(weights, some, heads=2) for some in (tokens, changed))
    np.testing.assert_allclose(before[:5], after[:5], rtol=1e-5)
    assert not np.allclose(before[5:], after[5:])


def test_transformer_block_is_its_formula():
    program = build("transformer", length=6, head_width=4, heads=2)
    shared, mapped = program.inputs(3, 1)
    tokens = mapped["tokens"][0]
    w = {name: array.astype(float) for name, array in shared.items()}

    def normal(x):
        centred = x - x.mean(1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)

    def gelu(x):
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x, heads = tokens.astype(float), []
    n = normal(x)
    for head in (slice(0, 4), slice(4, 8)):
        scores = (n @ w["queries"])[:, head] @ (n @ w["keys"])[:, head].T / 2
        scores[np.triu_indices(6, 1)] = -np.inf
        shares = np.exp(scores - scores.max(1, keepdims=True))
        heads.append(shares / shares.sum(1, keepdims=True) @ (n @ w["values"])[:, head])
    x = x + np.concatenate(heads, axis=1) @ w["output"]
    x = x + gelu(normal(x) @ w["widen"]) @ w["narrow"]
    np.testing.assert_allclose(transformer.block(transformer.Weights(**shared), tokens, heads=2), x, atol=1e-4)


def test_heat_decays_as_the_analytic_solution():
    side, steps, step_s, diffusivity = 64, 400, 0.3, 1e-4
    x = np.arange(side) / side
    wave = (np.sin(2 * np.pi * x)[:, None] * np.cos(2 * np.pi * x)[None]).astype(np.float32)
    found = heat.spread(wave, np.float32(diffusivity), steps=steps, step_s=step_s)
    decay = math.exp(-diffusivity * 8 * math.pi**2 * steps * step_s)
    assert decay < 0.5
    np.testing.assert_allclose(found, decay * wave, atol=2e-3)
    np.testing.assert_allclose(found.sum(), wave.sum(), atol=1e-3)


def test_lorenz_rests_where_its_slope_is_nothing_and_converges_with_the_fourth_order():
    still = np.array([math.sqrt(72), math.sqrt(72), 27], np.float32)
    np.testing.assert_allclose(lorenz.trajectory(still, steps=5, step=0.01)[-1], still, atol=1e-4)
    with jax.enable_x64(True):
        start = np.array([1.0, 1.0, 1.0])
        exact = lorenz.trajectory(start, steps=6400, step=1 / 6400)[-1]
        coarse, fine = (np.abs(lorenz.trajectory(start, steps=n, step=1 / n)[-1] - exact).max() for n in (200, 400))
    assert 12 < coarse / fine < 20


def test_mlp_in_the_catalogue_is_the_sweep():
    program = build("mlp", steps=1)
    shared, mapped = program.inputs(0, 1)
    row = {name: array[0] for name, array in mapped.items()}
    found = jax.jit(program.function)(shared, row)
    assert found["losses"].shape == (1,)
    np.testing.assert_array_equal(
        found["losses"], jax.jit(lambda s, r: mlp.sweep(s, r, steps=mlp.REPORT))(shared, row)["losses"]
    )
