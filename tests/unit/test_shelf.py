"""A holder's shelf: what was not used for longest goes first, and damaged files are as good as lost."""

from pathlib import Path

from domain.blobs import address_of
from services.bus.blobs import Shelf

ONE, TWO, THREE = (bytes([letter]) * 100 for letter in b"abc")


def test_shelf_gives_back_what_was_put(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.get(address_of(ONE)) is None
    shelf.put(address_of(ONE), ONE)
    assert shelf.get(address_of(ONE)) == ONE
    assert Shelf(tmp_path).get(address_of(ONE)) == ONE


def test_full_shelf_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, bytes_max=200)
    for stored in (ONE, TWO):
        shelf.put(address_of(stored), stored)
    assert shelf.get(address_of(ONE)) == ONE
    shelf.put(address_of(THREE), THREE)
    assert [shelf.get(address_of(stored)) for stored in (ONE, TWO, THREE)] == [ONE, None, THREE]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 200


def test_shelf_keeps_one_blob_that_is_larger_than_itself(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, bytes_max=50)
    shelf.put(address_of(ONE), ONE)
    assert shelf.get(address_of(ONE)) == ONE
    shelf.put(address_of(TWO), TWO)
    assert [shelf.get(address_of(stored)) for stored in (ONE, TWO)] == [None, TWO]


def test_damaged_file_is_dropped_and_may_be_put_again(tmp_path: Path) -> None:
    shelf, address = Shelf(tmp_path), address_of(ONE)
    shelf.put(address, ONE)
    (tmp_path / address).write_bytes(TWO)
    assert shelf.get(address) is None
    assert list(tmp_path.iterdir()) == []
    shelf.put(address, ONE)
    assert shelf.get(address) == ONE


def test_file_that_somebody_removed_is_no_longer_held(tmp_path: Path) -> None:
    shelf, address = Shelf(tmp_path), address_of(ONE)
    shelf.put(address, ONE)
    (tmp_path / address).unlink()
    assert shelf.get(address) is None
    assert address not in shelf
