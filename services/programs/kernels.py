"""Calls into compiled libraries that a program may make: factorisations of matrices, and nothing else.

A library writes as much as the sizes of its first operand tell it to, whether or not the result has that size: jaxlib's
wrappers do not compare them. ``check`` does, because what they would overwrite is the process.
"""

import math
import re
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
    "geev": "nn -> n n nn/c nn/c /i",
    "cgeev": "nn -> n nn nn /i",
    "gtsv": "n n n nj -> n n n nj /i",
    "gtsv2": "n n n nj -> nj",
}
_LETTERS: Final = {name: {ord(letter) for letter in letters} for name, letters in {
    "uplo": "LU", "diag": "NU", "trans_x": "NTC", "compute_left": "NV", "compute_right": "NV"}.items()}  # fmt: skip
_COMPLEX: Final = {"f32": "complex<f32>"}
_REAL: Final = {complex_: real for real, complex_ in _COMPLEX.items()}


class Call(NamedTuple):
    """One call.

    Attributes:
        settings: Of the kernel, by name; a letter by its code.
        text: Settings of the older form, as they stand.
    """

    kernel: str
    inputs: Sequence[Shaped]
    outputs: Sequence[Shaped]
    settings: Mapping[str, int]
    text: str


def check(call: Call) -> str:
    """What is wrong with a call of a listed kernel; empty if it reads and writes what it was given."""
    routine = ROUTINES[call.kernel]
    for name, value in call.settings.items():
        if name in _LETTERS and value not in _LETTERS[name]:
            return f"the setting {name} = {value}"
    if routine == "eigh" and not re.fullmatch(r"[01],[01],100,1e-6", call.text):
        return f"the settings {call.text[:40]!r}"
    form = _form(routine, call.settings)
    if not form or not _fits(form, call):
        return "arrays of other shapes or types than it fills"
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


def _form(routine: str, settings: Mapping[str, int]) -> str:
    if routine == "trsm":
        sides = {ord("L"): "trsm", ord("R"): "trsm right"}
        return _FORMS.get(sides.get(settings.get("side", 0), ""), "")
    if routine == "gesdd":
        modes = {ord("A"): "gesdd", ord("N"): "gesdd", ord("S"): "gesdd slim"}
        return _FORMS.get(modes.get(settings.get("mode", 0), ""), "")
    if routine == "syevd" and "mode" in settings and settings["mode"] not in (ord("V"), ord("N")):
        return ""
    return _FORMS[routine]


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
