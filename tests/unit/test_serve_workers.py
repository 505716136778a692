import asyncio
import time

import numpy as np

from keras_emo.serve.settings import Settings
from keras_emo.serve.workers import Batcher


def run(work, predict=None, max_clips=4, wait_s=0.05):
    """Call work with a batcher of clips that are numbers; returns its result and the batches."""
    sizes = []

    def double(clips):
        return np.array(clips, np.float32) * 2

    async def main():
        settings = Settings(max_batch=max_clips, batch_wait_s=wait_s)
        batcher = Batcher(predict or double, settings, sizes.append)
        batcher.start()
        try:
            return await work(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(main()), sizes


def test_clips_that_arrive_together_share_a_batch():
    async def work(batcher):
        return await asyncio.gather(*(batcher.predict([i]) for i in range(6)))

    probs, sizes = run(work)
    assert [p.tolist() for p in probs] == [[0], [2], [4], [6], [8], [10]]
    assert sizes == [4, 2]

    async def work_whole(batcher):
        return await asyncio.gather(batcher.predict([1, 2, 3]), batcher.predict([4, 5]))

    probs, sizes = run(work_whole)
    assert [p.tolist() for p in probs] == [[2, 4, 6], [8, 10]]
    assert sizes == [5]  # a batch of four ends with the request that exceeds it


def test_a_failure_concerns_its_batch_only():
    def fail(clips):
        if 0 in clips:
            raise ZeroDivisionError
        return np.array(clips)

    async def work(batcher):
        probs = await asyncio.gather(
            *(batcher.predict([i]) for i in (0, 1, 2)), return_exceptions=True
        )
        return probs, await batcher.predict([5])

    (probs, later), _ = run(work, fail, max_clips=2)
    assert [type(s) for s in probs[:2]] == [ZeroDivisionError] * 2
    assert (probs[2].tolist(), later.tolist()) == ([2], [5])


def test_a_cancelled_request_leaves_the_others():
    def slow(clips):
        time.sleep(0.05)
        return np.array(clips)

    async def work(batcher):
        impatient = asyncio.create_task(batcher.predict([1]))
        patient = asyncio.create_task(batcher.predict([2]))
        await asyncio.sleep(0.02)
        impatient.cancel()
        return await patient, await batcher.predict([3])

    (a, b), _ = run(work, slow, wait_s=0.0)
    assert (a.tolist(), b.tolist()) == ([2], [3])
