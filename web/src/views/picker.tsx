import { useEffect, useState } from "preact/hooks";
import type { Clip } from "../state";

interface Props {
  choose(clip: Clip): void;
  /** null: nothing is recorded here. */
  record: (() => void) | null;
}

/** A file by drop, by pointer or by keyboard, or a recording. */
export function Picker({ choose, record }: Props) {
  const [over, setOver] = useState(false);

  function take(files: FileList | null | undefined): void {
    const file = files?.[0];
    if (file) choose({ name: file.name, data: file });
  }

  useEffect(() => {
    // anywhere on the page, as a browser opens what is dropped beside the zone
    const move = (e: DragEvent): void => {
      e.preventDefault();
      setOver(true);
    };
    const leave = (e: DragEvent): void => {
      if (!e.relatedTarget) setOver(false);
    };
    const drop = (e: DragEvent): void => {
      e.preventDefault();
      setOver(false);
      take(e.dataTransfer?.files);
    };
    addEventListener("dragover", move);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", move);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  });

  return (
    <section class="card picker" aria-labelledby="picker">
      <h2 id="picker" class="unseen">
        Choose a clip
      </h2>
      <label class={over ? "zone over" : "zone"}>
        <input
          type="file"
          class="unseen"
          accept="video/*,audio/*,.mkv,.avi,.ts"
          aria-describedby="picker-hint"
          data-first
          onChange={(e) => {
            take(e.currentTarget.files);
            e.currentTarget.value = ""; // so that the same file can be chosen again
          }}
        />
        <svg viewBox="0 0 48 48" class="zone-sign" aria-hidden="true">
          <path d="M24 31V11M16 18l8-8 8 8M9 30v6a3 3 0 0 0 3 3h24a3 3 0 0 0 3-3v-6" />
        </svg>
        <span class="zone-title">
          Drop a clip here, or <span class="link">choose a file</span>
        </span>
        <span class="hint" id="picker-hint">
          One person who speaks to the camera, a few seconds or more: MP4, WebM, MOV
        </span>
      </label>
      {record && (
        <>
          <div class="or">
            <span>or</span>
          </div>
          <button type="button" class="button" onClick={record}>
            <span class="dot" aria-hidden="true" />
            Record with camera and microphone
          </button>
        </>
      )}
    </section>
  );
}
