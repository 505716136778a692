import { useEffect, useRef, useState } from "preact/hooks";
import { formatTime } from "../numbers";
import { closeCamera, MAX_S, openCamera, startTake, type Take } from "../recorder";
import type { Clip } from "../state";

interface Props {
  finish(clip: Clip): void;
  leave(): void;
  refuse(error: unknown): void;
}

/** The camera's picture while a take is made. Recording begins once the camera is there. */
export function RecorderView({ finish, leave, refuse }: Props) {
  const video = useRef<HTMLVideoElement>(null);
  const take = useRef<Take | null>(null);
  const [elapsedS, setElapsedS] = useState<number | null>(null);

  useEffect(() => {
    let stream: MediaStream | null = null;
    let clock: ReturnType<typeof setInterval> | undefined;
    let gone = false;
    openCamera()
      .then((opened) => {
        stream = opened;
        if (gone) return closeCamera(opened);
        if (video.current) video.current.srcObject = opened;
        take.current = startTake(opened, finish);
        const sinceMs = performance.now();
        setElapsedS(0);
        clock = setInterval(() => setElapsedS((performance.now() - sinceMs) / 1000), 200);
      })
      .catch((error: unknown) => gone || refuse(error));
    return () => {
      gone = true;
      clearInterval(clock);
      take.current?.discard();
      if (stream) closeCamera(stream);
    };
  }, []);

  const share = Math.min((elapsedS ?? 0) / MAX_S, 1);
  return (
    <section class="card recorder" aria-labelledby="recorder">
      <h2 id="recorder" tabIndex={-1} data-first>
        {elapsedS === null ? "Waiting for camera and microphone" : "Recording"}
      </h2>
      <div class="stage">
        <video ref={video} autoplay muted playsInline aria-label="What the camera sees" />
      </div>
      <progress max={1} value={share} aria-label="Length of the recording" />
      <p class="hint" aria-hidden="true">
        {formatTime(elapsedS ?? 0)} of at most {MAX_S} s. Look at the camera and say a sentence.
      </p>
      <div class="row">
        <button type="button" class="button main" disabled={elapsedS === null} onClick={() => take.current?.stop()}>
          <span class="square" aria-hidden="true" />
          Stop and send
        </button>
        <button type="button" class="button" onClick={leave}>
          Discard
        </button>
      </div>
    </section>
  );
}
