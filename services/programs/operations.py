"""The operations that a program may hold, by name, and what one element of their result costs.

Allowed is what is listed here and nothing else: neither jax's own list of stable custom calls nor its list of dialects
is inherited, because both hold calls into the host.
"""

from collections.abc import Mapping
from typing import Final

from services.programs.verdict import Reason


def _stablehlo(names: str) -> frozenset[str]:
    return frozenset(f"stablehlo.{name}" for name in names.split())


#: One floating-point (or whole-number) operation for each element of the result.
ARITHMETIC: Final = _stablehlo(
    """abs add and ceil clamp compare complex convert count_leading_zeros divide floor imag is_finite maximum minimum
    multiply negate not or popcnt real reduce_precision remainder round_nearest_afz round_nearest_even select
    shift_left shift_right_arithmetic shift_right_logical sign subtract xor"""
)
#: One transcendental for each element of the result.
TRANSCENDENTAL: Final = _stablehlo(
    """atan2 cbrt cosine exponential exponential_minus_one log log_plus_one logistic power rsqrt sine sqrt tan tanh"""
)
#: Nothing is computed; operands are read and the result is written.
MOVING: Final = _stablehlo("bitcast_convert concatenate dynamic_update_slice pad reverse transpose")
#: Nothing is computed; as much is read as is written.
PICKING: Final = _stablehlo("dynamic_slice gather slice")
#: Nothing is computed and nothing read.
FILLING: Final = _stablehlo("broadcast_in_dim iota")
#: A name for bytes that are there already.
FREE: Final = _stablehlo("constant optimization_barrier reshape return") | {"func.return"}
#: Counted by a formula of their own, or by what they hold; see ``metering``.
COUNTED: Final = _stablehlo(
    """case cholesky composite convolution custom_call dot_general fft if map reduce reduce_window scatter
    select_and_scatter sort triangular_solve while"""
) | {"func.call"}
ALLOWED: Final = ARITHMETIC | TRANSCENDENTAL | MOVING | PICKING | FILLING | FREE | COUNTED

#: What a complex operation costs in real ones, where that is not 2.
COMPLEX: Final[Mapping[str, int]] = {"stablehlo.multiply": 6, "stablehlo.divide": 11}

#: Why an operation that is not allowed is refused, and what to write in its place.
REFUSED: Final[Mapping[str, tuple[Reason, str]]] = {
    **dict.fromkeys(
        _stablehlo(
            """all_gather all_reduce all_to_all collective_broadcast collective_permute cross_replica_sum
            partition_id reduce_scatter replica_id"""
        ),
        ("collective", "a task runs on one device; leave out psum, pmean and their like"),
    ),
    **dict.fromkeys(
        _stablehlo("after_all create_token infeed outfeed recv send async_start async_done"),
        ("io", "a program reads its inputs and returns its outputs, and nothing else"),
    ),
    **dict.fromkeys(
        _stablehlo("rng rng_bit_generator"),
        ("rng", "devices disagree on it; use jax.random with the default threefry keys and a seed among the inputs"),
    ),
    **dict.fromkeys(
        _stablehlo(
            """dynamic_broadcast_in_dim dynamic_conv dynamic_gather dynamic_iota dynamic_pad dynamic_reshape
            get_dimension_size real_dynamic_slice set_dimension_size"""
        ),
        ("dynamic_shape", "export with shapes that are numbers"),
    ),
}

#: Functions of CHLO with a decomposition in plain operations. A compiler runs that, or what it knows by the name: the
#: dearer of both is counted.
COMPOSITES: Final = frozenset(
    f"chlo.{name}"
    for name in [
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "bessel_i1e",
        "cosh",
        "digamma",
        "erf",
        "erf_inv",
        "erfc",
        "is_inf",
        "is_neg_inf",
        "is_pos_inf",
        "lgamma",
        "next_after",
        "polygamma",
        "ragged_dot",
        "sinh",
        "square",
        "tan",
        "top_k",
        "zeta",
    ]
)


def _attributes(table: str) -> Mapping[str, frozenset[str]]:
    lines = (line.split() for line in table.strip().splitlines())
    return {f"stablehlo.{name}": frozenset(attributes) for name, *attributes in lines}


#: Attributes of each allowed operation that has any; what is not listed here it may not carry. Calls of kernels are
#: held to the words that jax writes; see ``kernels``.
ATTRIBUTES: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(TRANSCENDENTAL - _stablehlo("atan2 power"), frozenset({"result_accuracy"})),
    "func.call": frozenset({"callee"}),
    **_attributes(
        """
        broadcast_in_dim broadcast_dimensions
        cholesky lower
        compare compare_type comparison_direction
        composite composite_attributes decomposition name version
        concatenate dimension
        constant value
        convolution batch_group_count dimension_numbers feature_group_count lhs_dilation padding precision_config \
            rhs_dilation window_reversal window_strides
        dot_general algorithm dot_dimension_numbers precision_config
        dynamic_slice slice_sizes
        fft fft_length fft_type
        gather dimension_numbers indices_are_sorted slice_sizes
        iota iota_dimension
        map dimensions
        pad edge_padding_high edge_padding_low interior_padding
        reduce dimensions
        reduce_precision exponent_bits mantissa_bits
        reduce_window base_dilations padding window_dilations window_dimensions window_strides
        reverse dimensions
        scatter indices_are_sorted scatter_dimension_numbers unique_indices
        select_and_scatter padding window_dimensions window_strides
        slice limit_indices start_indices strides
        sort dimension is_stable
        transpose permutation
        triangular_solve left_side lower transpose_a unit_diagonal
        """
    ),
}
#: Attributes of a composite and their form: XLA takes them at their word instead of running the decomposition.
COMPOSITE_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "chlo.ragged_dot": {
        "precision_config": r'\["[A-Z]+", "[A-Z]+"\]',
        "ragged_dot_dimension_numbers": r"\[(dense<[\d\[\], ]*> : tensor<\dxi64>(, |\])){6}",
    },
    "chlo.top_k": {"k": r"\d+ : i64"},
}
