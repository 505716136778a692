import { useEffect, useRef, useState } from "preact/hooks";
import type { Answer } from "../answer";
import { drawBox } from "../drawing";
import { findBox } from "../moments";
import { formatShare } from "../numbers";
import type { Place } from "./result";

interface Props {
  address: string;
  answer: Answer;
  index: number;
  place: Place;
  follow(timeS: number): void;
}

const STEP_MS = 60; // between two looks at a playing video
const FAR_S = 1e7; // beyond the end of any recording

/** The clip, with the face's box over it. Tells the page where it is, goes where it is told. */
export function Player({ address, answer, index, place, follow }: Props) {
  const video = useRef<HTMLVideoElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [playable, setPlayable] = useState(true);
  const [picture, setPicture] = useState(true);
  const measuring = useRef(false);

  useEffect(() => {
    if (place.seek && video.current) video.current.currentTime = place.timeS;
  }, [place.seek]);

  useEffect(() => {
    const clock = setInterval(() => {
      if (video.current && !video.current.paused) follow(video.current.currentTime);
    }, STEP_MS);
    return () => clearInterval(clock);
  }, [follow]);

  function draw(): void {
    if (!video.current || !canvas.current) return;
    const window = answer.windows[index];
    const caption = window?.label && window.probs ? `${window.label} ${formatShare(window.probs[window.label])}` : "";
    drawBox(canvas.current, video.current, findBox(answer, index, place.timeS), caption);
  }
  useEffect(draw);
  useEffect(() => {
    const watcher = new ResizeObserver(draw);
    if (video.current) watcher.observe(video.current);
    return () => watcher.disconnect();
  });

  function learn(element: HTMLVideoElement): void {
    setPicture(element.videoWidth > 0);
    // recordings of MediaRecorder do not say how long they are until their end has been seen
    if (element.duration === Infinity) {
      measuring.current = true;
      element.currentTime = FAR_S;
    }
    draw();
  }

  function report(element: HTMLVideoElement): void {
    if (!measuring.current) follow(element.currentTime);
    else if (element.duration !== Infinity) {
      measuring.current = false;
      element.currentTime = 0;
    }
  }

  if (!playable) {
    return (
      <p class="stage empty">
        Your browser cannot play this kind of file. All else on this page works: the slider below moves through it.
      </p>
    );
  }
  return (
    <div class={picture ? "stage" : "stage sound"}>
      <video
        ref={video}
        src={address}
        controls
        controlsList="nofullscreen nodownload noremoteplayback"
        disablePictureInPicture
        playsInline
        preload="auto"
        aria-label="Your clip"
        onLoadedMetadata={(e) => learn(e.currentTarget)}
        onLoadedData={draw}
        onTimeUpdate={(e) => report(e.currentTarget)}
        onSeeked={(e) => report(e.currentTarget)}
        onDurationChange={(e) => report(e.currentTarget)}
        onError={() => setPlayable(false)}
      />
      <canvas ref={canvas} aria-hidden="true" />
    </div>
  );
}
