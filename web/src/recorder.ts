/** A take from camera and microphone. */

import type { Clip } from "./state";

export const MAX_S = 30;
const TYPES = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];

/** The first kind of file that this browser records; empty leaves the choice to it. */
export function chooseType(isSupported: (type: string) => boolean): string {
  return TYPES.find(isSupported) ?? "";
}

/** A file name for a take of a type, as "recording.webm". */
export function nameTake(type: string): string {
  return type.startsWith("video/mp4") ? "recording.mp4" : "recording.webm";
}

/** Camera and microphone. Throws DOMException, named Insecure where the page may not ask at all. */
export async function openCamera(): Promise<MediaStream> {
  // undefined on plain http from another machine, whatever its type says
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) throw new DOMException("no secure context", "Insecure");
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "user" };
  return devices.getUserMedia({ video, audio: true });
}

/** Turn camera and microphone off. */
export function closeCamera(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

export interface Take {
  /** End it and hand over the clip. */
  stop(): void;
  /** End it; nothing is kept. */
  discard(): void;
}

/** Record until stop, or MAX_S; finish gets the clip. */
export function startTake(stream: MediaStream, finish: (clip: Clip) => void): Take {
  const type = chooseType((t) => MediaRecorder.isTypeSupported(t));
  const recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
  const parts: Blob[] = [];
  let kept = true;
  recorder.ondataavailable = (e) => parts.push(e.data);
  recorder.onstop = () => {
    clearTimeout(timer);
    const kind = recorder.mimeType || "video/webm";
    if (kept) finish({ name: nameTake(kind), data: new Blob(parts, { type: kind }) });
  };
  const end = (): void => {
    if (recorder.state !== "inactive") recorder.stop();
  };
  const timer = setTimeout(end, MAX_S * 1000);
  recorder.start(1000);
  return {
    stop: end,
    discard() {
      kept = false;
      end();
    },
  };
}
