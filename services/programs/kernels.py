"""Calls into compiled libraries that a program may make: factorisations of matrices, and nothing else.

A library writes as much as the sizes of its first operand and its settings tell it to, whether or not the result has
that size: jaxlib's wrappers do not compare them. ``check`` does, because what they would overwrite is the process. XLA
takes settings from more than one attribute of a call, so that what is not written exactly as jax writes it is refused.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from services.programs.shapes import Shaped

#: Kernels of jaxlib on CPU and the LAPACK routine that they wrap. The tests run each of them.
CPU: Final[Mapping[str, str]] = {
    **{
        f"lapack_{letter}{name}_ffi": name
        for letter in "sdc"
        for name in ("getrf", "trsm", "potrf", "geqrf", "gesdd", "gtsv")
    },
    **{f"lapack_{name}_ffi": "orgqr" for name in ("sorgqr", "dorgqr", "cungqr")},
    **{f"lapack_{name}_ffi": "syevd" for name in ("ssyevd", "dsyevd", "cheevd")},
    "lapack_sgeev_ffi": "geev",
    "lapack_cgeev_ffi": "cgeev",
}
#: Their counterparts on NVIDIA's devices, as seen in exports of the same functions for cuda.
CUDA: Final[Mapping[str, str]] = {
    "cusolver_getrf_ffi": "getrf",
    "cu_lu_pivots_to_permutation": "permutation",
    "cusolver_potrf_ffi": "potrf",
    "cusolver_geqrf_ffi": "geqrf",
    "cusolver_orgqr_ffi": "orgqr",
    "cusolver_syevd_ffi": "syevd",
    "cusolver_gesvdj_ffi": "gesvdj",
    "cusparse_gtsv2_ffi": "gtsv2",
}
#: And in exports for TPUs, where XLA writes them out itself; seen, run by no test.
TPU: Final[Mapping[str, str]] = {
    "LuDecomposition": "lu",
    "Qr": "geqrf",
    "ProductOfElementaryHouseholderReflectors": "orgqr",
    "Eigh": "eigh",
}
ROUTINES: Final[Mapping[str, str]] = {**CPU, **CUDA, **TPU}

#: Axes of operands and results behind those of the batch, a letter each: ``k`` is the smaller of ``m`` and ``n``. A
#: type follows the slash where it is not the first operand's: whole numbers (i), its real (r) or complex (c) form.
_FORMS: Final[Mapping[str, str]] = {
    "getrf": "mn -> mn k/i /i",
    "lu": "mn -> mn k/i m/i",
    "permutation": "j/i -> m/i",
    "trsm": "nn nj -> nj",
    "trsm right": "nn jn -> jn",
    "potrf": "nn -> nn /i",
    "geqrf": "mn -> mn k",
    "orgqr": "mn j -> mn",
    "syevd": "nn -> nn n/r /i",
    "eigh": "nn -> nn n/r",
    "gesdd": "mn -> mn k/r mm nn /i",
    "gesdd slim": "mn -> mn k/r mk kn /i",
    "gesvdj": "mn -> mn k/r mm nn /i",
    "gesvdj slim": "mn -> mn k/r mk nk /i",
    "geev": "nn -> n n nn/c nn/c /i",
    "cgeev": "nn -> n nn nn /i",
    "gtsv": "n n n nj -> n n n nj /i",
    "gtsv2": "n n n nj -> nj",
}
_FLAG: Final = ("false", "true")


def _letters(letters: str) -> tuple[str, ...]:
    return tuple(f"{ord(letter)} : ui8" for letter in letters)


#: Settings that a routine takes, all of them and no others, and the values of each as MLIR writes them.
_SETTINGS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "trsm": {
        "diag": _letters("NU"),
        "side": _letters("LR"),
        "trans_x": _letters("NTC"),
        "uplo": _letters("LU"),
    },
    "potrf": {"uplo": _letters("LU")},
    "syevd": {"mode": _letters("NV"), "uplo": _letters("LU")},
    "gesdd": {"mode": _letters("ANS")},
    "geev": {"compute_left": _letters("NV"), "compute_right": _letters("NV")},
    "cgeev": {"compute_left": _letters("NV"), "compute_right": _letters("NV")},
    "gesvdj": {"compute_uv": _FLAG, "full_matrices": _FLAG},
}
#: The same on NVIDIA's devices, where they differ.
_CUDA_SETTINGS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "potrf": {"lower": _FLAG},
    "syevd": {"algorithm": ("0 : ui8", "1 : ui8", "2 : ui8"), "lower": _FLAG},
}
#: Operands whose memory a result takes over, with that result.
_TAKEN_OVER: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    **dict.fromkeys(("getrf", "potrf", "geqrf", "orgqr", "syevd", "gesdd", "gesvdj"), ((0, 0),)),
    "trsm": ((1, 0),),
    "gtsv": ((0, 0), (1, 1), (2, 2), (3, 3)),
    "gtsv2": ((3, 0),),
}
#: What a call of any kernel may carry.
ATTRIBUTES: Final = frozenset(
    {
        "call_target_name",
        "called_computations",
        "has_side_effect",
        "api_version",
        "backend_config",
        "mhlo.backend_config",
        "mhlo.frontend_attributes",
        "operand_layouts",
        "result_layouts",
        "output_operand_aliases",
    }
)
#: What jax says of its own kernels and of XLA's; an attribute that is absent here is absent there.
_COMPARED: Final = ATTRIBUTES - {"call_target_name", "has_side_effect"}
_COMPLEX: Final = {"f32": "complex<f32>"}
_REAL: Final = {complex_: real for real, complex_ in _COMPLEX.items()}


class Call(NamedTuple):
    """One call.

    Attributes:
        said: Its attributes by name, as MLIR writes them.
    """

    kernel: str
    inputs: Sequence[Shaped]
    outputs: Sequence[Shaped]
    said: Mapping[str, str]


def check(call: Call) -> str:
    """What is wrong with a call of a listed kernel; empty if it reads and writes what it was given."""
    settings = _settings(call)
    if settings is None:
        return f"the settings {call.said.get('mhlo.backend_config', '')[:80]!r}"
    form = _form(ROUTINES[call.kernel], settings)
    if not _fits(form, call):
        return "arrays of other shapes or types than it fills"
    expected = _native(call) if call.kernel in TPU else _foreign(form, call)
    for name in sorted(_COMPARED):
        if call.said.get(name, "") not in expected.get(name, ("",)):
            return f"{name} = {call.said.get(name, 'nothing')[:80]}, which jax does not write"
    return ""


def flops(call: Call) -> int:
    """Floating-point operations of a call.

    Source: G. Golub, C. Van Loan, Matrix Computations, 4th edition: 9 n^3 for eigenvalues and vectors of a symmetric
    matrix, 25 n^3 of a general one, 22 n^3 for a singular value decomposition.
    """
    routine, first = ROUTINES[call.kernel], call.inputs[0]
    if routine in ("gtsv", "gtsv2", "permutation"):
        return 8 * sum(shaped.elements for shaped in call.inputs) * _factor(first)
    m, n = first.shape[-2:]
    k, batch = min(m, n), math.prod(first.shape[:-2])
    eliminated = 2 * m * n * k - (m + n) * k * k + 2 * k**3 // 3
    each = {
        "getrf": eliminated,
        "lu": eliminated,
        "potrf": n**3 // 3,
        "geqrf": 2 * eliminated,
        "orgqr": 2 * eliminated,
        "syevd": 9 * n**3,
        "eigh": 9 * n**3,
        "geev": 25 * n**3,
        "cgeev": 25 * n**3,
        "gesdd": 22 * m * n * k,
        "gesvdj": 22 * m * n * k,
    }
    total = n * call.inputs[1].elements if routine == "trsm" else batch * each[routine]
    return total * _factor(first)


def _factor(shaped: Shaped) -> int:
    """Real multiplications and additions in one of complex numbers."""
    return 4 if shaped.dtype.startswith("complex") else 1


def _settings(call: Call) -> Mapping[str, str] | None:
    """Settings of a call by name, as MLIR writes them; nothing if they are not those that its routine takes."""
    routine = ROUTINES[call.kernel]
    takes = _SETTINGS.get(routine, {})
    if call.kernel in CUDA:
        takes = _CUDA_SETTINGS.get(routine, takes)
    text = call.said.get("mhlo.backend_config", "{}").removeprefix("{").removesuffix("}")
    given = dict[str, str]()
    for one in filter(None, text.split(", ")):
        name, _, value = one.partition(" = ")
        given[name] = value
    return given if given.keys() == takes.keys() and all(given[name] in takes[name] for name in given) else None


def _form(routine: str, settings: Mapping[str, str]) -> str:
    match routine:
        case "trsm" if settings["side"] in _letters("R"):
            return _FORMS["trsm right"]
        case "gesdd" if settings["mode"] in _letters("S"):
            return _FORMS["gesdd slim"]
        case "gesvdj" if settings["full_matrices"] == "false":
            return _FORMS["gesvdj slim"]
        case _:
            return _FORMS[routine]


def _foreign(form: str, call: Call) -> Mapping[str, tuple[str, ...]]:
    """What jax writes about a call of its own kernel, whose shapes fit: matrices by columns, all else by rows."""
    routine, before = ROUTINES[call.kernel], form.partition("->")[0].split()
    axes = max(len(word.partition("/")[0]) for word in before)
    deepest = max(len(shaped.shape) for shaped in call.inputs)
    batch = deepest - axes

    def layouts(types: Sequence[Shaped]) -> str:
        return f"[{', '.join(_layout(len(one.shape), axes == 2 and len(one.shape) == deepest) for one in types)}]"

    several = len(call.outputs) > 1
    aliases = [
        f"#stablehlo.output_operand_alias<output_tuple_indices = [{result if several else ''}], "
        f"operand_index = {operand}, operand_tuple_indices = []>"
        for operand, result in _TAKEN_OVER.get(routine, ())
    ]
    return {
        "api_version": ("", "1 : i32"),
        "backend_config": ("", '""'),
        "called_computations": ("", "[]"),
        "mhlo.backend_config": (call.said.get("mhlo.backend_config", "nothing"),),  # checked already; there is one
        "mhlo.frontend_attributes": ("", f'{{num_batch_dims = "{batch}"}}'),
        "operand_layouts": (layouts(call.inputs),),
        "result_layouts": (layouts(call.outputs),),
        "output_operand_aliases": (f"[{', '.join(aliases)}]",) if aliases else ("", "[]"),
    }


def _native(call: Call) -> Mapping[str, tuple[str, ...]]:
    """What jax writes about a call that XLA writes out itself."""
    routine = ROUTINES[call.kernel]
    settings = tuple(f'"{lower},{sort},100,1e-6"' for lower in "01" for sort in "01")
    return {
        "api_version": ("2 : i32",) if routine == "lu" else ("", "1 : i32"),
        "backend_config": settings if routine == "eigh" else ("", '""'),
        "called_computations": ("", "[]"),
    }


def _layout(axes: int, by_columns: bool) -> str:
    """A layout as MLIR writes it: axes, the one whose elements lie closest together first."""
    order = list(reversed(range(axes)))
    if by_columns:
        order[:2] = reversed(order[:2])
    return f"dense<{order if axes > 1 else order[0] if axes else ''}> : tensor<{axes}xindex>"


def _fits(form: str, call: Call) -> bool:
    before, _, after = form.partition("->")
    operands, results = before.split(), after.split()
    if len(operands) != len(call.inputs) or len(results) != len(call.outputs):
        return False
    first = call.inputs[0]
    own = len(operands[0].partition("/")[0])
    if len(first.shape) < own:
        return False
    batch = first.shape[: len(first.shape) - own]
    lengths: dict[str, int] = {}
    for word, shaped in zip([*operands, *results], [*call.inputs, *call.outputs], strict=True):
        axes, _, kind = word.partition("/")
        dtypes = {"i": "i32", "r": _REAL.get(first.dtype, first.dtype), "c": _COMPLEX.get(first.dtype)}
        if shaped.dtype != (dtypes[kind] if kind else first.dtype):
            return False
        if len(shaped.shape) != len(batch) + len(axes) or shaped.shape[: len(batch)] != batch:
            return False
        for letter, length in zip(axes, shaped.shape[len(batch) :], strict=True):
            if lengths.setdefault(letter, length) != length:
                return False
        if "m" in lengths and "n" in lengths:
            lengths["k"] = min(lengths["m"], lengths["n"])
    if ROUTINES[call.kernel] == "orgqr":
        return lengths["j"] <= lengths["n"] <= lengths["m"]
    if ROUTINES[call.kernel] == "permutation":
        return lengths["j"] <= lengths["m"]
    return True
