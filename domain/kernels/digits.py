"""Handwritten digits to learn from: 1,797 images in three fixed parts (``data/README.md`` says whose they are)."""

import hashlib
import lzma
from importlib.resources import files
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: SHA-256 of the unpacked text.
TEXT_SHA256: Final = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
IMAGES: Final = 1797
CLASSES: Final = 10
#: Images in the parts to train on, to choose by and to report on.
TRAIN, VALIDATION, TEST = 1197, 300, 300
#: Seed of the permutation that deals the images out; the file is in writers' order, so a plain cut would be unfair.
SPLIT_SEED: Final = 20_250_101


class Digits(NamedTuple):
    """Images as rows of 64 float32 in 0 to 1, labels as int32 in 0 to 9."""

    train_x: NDArray[np.float32]
    train_y: NDArray[np.int32]
    validation_x: NDArray[np.float32]
    validation_y: NDArray[np.int32]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int32]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The parts by name, as a program's shared inputs."""
        return dict(self._asdict())


def text() -> bytes:
    """The data set as its authors' lines.

    Raises:
        ValueError: The file is not the one that belongs here.
    """
    unpacked = lzma.decompress(files("domain.kernels").joinpath("data", "digits.csv.xz").read_bytes())
    if hashlib.sha256(unpacked).hexdigest() != TEXT_SHA256:
        raise ValueError("digits.csv.xz is damaged; install the package again")
    return unpacked


def load() -> Digits:
    """The same split every time: shuffled once with ``SPLIT_SEED``, then cut into 1,197, 300 and 300.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI ML Repository, 1998, CC BY 4.0.
    """
    rows = np.array([line.split(b",") for line in text().splitlines()], dtype=np.uint8)
    rows = rows[_permutation(len(rows))]
    images, labels = (rows[:, :64] / np.float32(16)).astype(np.float32), rows[:, 64].astype(np.int32)
    first, second = TRAIN, TRAIN + VALIDATION
    return Digits(
        *(images[:first], labels[:first]),
        *(images[first:second], labels[first:second]),
        *(images[second:], labels[second:]),
    )


def _permutation(count: int) -> NDArray[np.intp]:
    """Order by hash, so that the split hangs on no generator's version."""
    keys = [hashlib.sha256(f"{SPLIT_SEED} {index}".encode()).digest() for index in range(count)]
    return np.array(sorted(range(count), key=keys.__getitem__), dtype=np.intp)
