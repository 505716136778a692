import asyncio
import time

import numpy as np
import pytest

from keras_emo.serve.admission import Admission
from keras_emo.serve.batching import Batcher
from keras_emo.serve.refusals import Refusal
from keras_emo.serve.settings import Settings


def run(work, answer=None, most=4, wait_s=0.05):
    """Call work with a batcher of clips that are numbers; returns its result and the batches."""
    sizes = []

    def double(clips):
        return np.array(clips, np.float32) * 2

    async def main():
        batcher = Batcher(answer or double, most, wait_s, sizes.append)
        batcher.start()
        try:
            return await work(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(main()), sizes


def test_clips_that_come_together_run_together():
    async def work(batcher):
        return await asyncio.gather(*(batcher.answer([i]) for i in range(6)))

    said, sizes = run(work)
    assert [float(s[0]) for s in said] == [0, 2, 4, 6, 8, 10]
    assert sizes == [4, 2]


def test_a_request_of_several_clips_stays_whole():
    async def work(batcher):
        return await asyncio.gather(batcher.answer([1, 2, 3]), batcher.answer([4, 5]))

    said, sizes = run(work)
    assert [s.tolist() for s in said] == [[2, 4, 6], [8, 10]]
    assert sizes == [3, 2]
    _, sizes = run(lambda b: b.answer(range(7)))
    assert sizes == [7]


def test_a_failure_is_told_to_those_it_concerns():
    def fail(clips):
        if 0 in clips:
            raise ZeroDivisionError
        return np.array(clips)

    async def work(batcher):
        said = await asyncio.gather(
            *(batcher.answer([i]) for i in (0, 1, 2)), return_exceptions=True
        )
        return said, await batcher.answer([5])

    (said, later), _ = run(work, fail, most=2)
    assert [type(s) for s in said[:2]] == [ZeroDivisionError] * 2
    assert (said[2].tolist(), later.tolist()) == ([2], [5])


def test_who_gives_up_disturbs_nobody():
    def slow(clips):
        time.sleep(0.05)
        return np.array(clips)

    async def work(batcher):
        impatient = asyncio.create_task(batcher.answer([1]))
        patient = asyncio.create_task(batcher.answer([2]))
        await asyncio.sleep(0.02)
        impatient.cancel()
        return await patient, await batcher.answer([3])

    (a, b), _ = run(work, slow, wait_s=0.0)
    assert (a.tolist(), b.tolist()) == ([2], [3])


def test_admission():
    settings = Settings(workers=1, queue=1, timeout_s=20)
    admission = Admission(settings)
    with admission.enter(), admission.enter():
        with pytest.raises(Refusal) as caught, admission.enter():
            pass
        assert caught.value.headers == {"Retry-After": "1"}
        for _ in range(100):
            admission.learn(9.0)
        assert admission.guess_s() == 9
        for _ in range(100):
            admission.learn(500.0)
        assert admission.guess_s() == 20
    assert admission.n_inside == 0
