"""Results on their way out: what shares a blob, and what its references say."""

from domain.blobs import blob_ref, commit_to, digest_of, equality_tag
from services.worker.packing import SHARE_BYTES_MAX, Result, bind, blobs_of

JOB = "j" * 24
HALF = SHARE_BYTES_MAX // 2


def results(*sizes: int) -> list[Result]:
    return [Result(JOB, task, bytes([task]) * size) for task, size in enumerate(sizes)]


def test_small_results_share_a_blob() -> None:
    assert blobs_of(bind(results(3, 4, 5))) == [b"\0" * 3 + b"\1" * 4 + b"\2" * 5]


def test_no_shared_blob_is_larger_than_who_wants_one_result_should_fetch() -> None:
    sizes = [len(stored) for stored in blobs_of(bind(results(HALF, HALF, 1, HALF, HALF)))]
    assert sizes == [2 * HALF, 1 + HALF, HALF]


def test_large_result_is_a_blob_alone() -> None:
    large = 2 * SHARE_BYTES_MAX
    assert [len(stored) for stored in blobs_of(bind(results(1, large, large, 1)))] == [1, large, large, 1]


def test_references_lead_to_their_results() -> None:
    packed = results(3, 2 * SHARE_BYTES_MAX, 4, 5)
    for (job, task, data), one in zip(packed, bind(packed), strict=True):
        shown = one.submission
        ref = shown.result
        assert one.stored[ref.offset : ref.offset + ref.size] == data
        assert ref.salt is not None
        assert ref.commitment == commit_to(digest_of(data), ref.salt)
        assert ref.address == blob_ref(one.stored, ref.salt).address
        assert (shown.job, shown.task, shown.equality) == (job, task, equality_tag(digest_of(data), job, task))


def test_nothing_is_bound_to_nothing() -> None:
    assert bind([]) == []
