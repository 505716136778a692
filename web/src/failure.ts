/** Failures as a person reads them. */

import { finishSentence } from "./notices";
import { formatBytes } from "./numbers";

/** What helps: the same clip again, a key, or another clip. */
export type Remedy = "retry" | "key" | "other";

export interface Failure {
  readonly title: string;
  readonly detail: string;
  readonly remedy: Remedy;
}

/** What the server answered; status 0 where it did not answer at all. */
export interface Refusal {
  readonly status: number;
  readonly reason: string | null;
  readonly cause: string | null;
  readonly retryAfterS: number | null;
}

const BROKEN = "This file cannot be read";
const BROKEN_HINT = "It may be damaged, cut short, or no video at all. Try another file.";

/** Titles and hints by the server's reason. A hint of null leaves the server's cause alone. */
const BY_REASON: Readonly<Record<string, readonly [title: string, hint: string]>> = {
  not_media: [BROKEN, BROKEN_HINT],
  truncated_container: [BROKEN, BROKEN_HINT],
  bad_header: [BROKEN, BROKEN_HINT],
  decoder_crashed: [BROKEN, BROKEN_HINT],
  non_finite_audio: [BROKEN, BROKEN_HINT],
  empty_file: ["This file is empty", "Choose one with a recording in it."],
  format_not_allowed: ["This kind of file is not taken", "Send a video such as MP4, WebM or MOV."],
  unsupported_codec: ["This coding is not known here", "Save the clip as MP4 with H.264 and AAC, then try again."],
  no_face: ["No face was found", "Choose a clip in which a face is seen from the front, in good light."],
  no_audio: ["This clip has no sound", "This network needs the voice. Choose a clip with sound."],
  silent_audio: ["This clip is silent", "This network needs the voice. Choose a clip in which someone speaks."],
  no_video: ["This file has no picture", "This network needs the face. Choose a video."],
  no_frames: ["This file has no picture", "This network needs the face. Choose a video."],
  no_modality: ["Neither a face nor a voice was found", "Choose a clip of a person who speaks to the camera."],
  too_short: ["This clip is too short", "Half a second or more is needed."],
  resolution_limit: ["This picture is too large", "Make the video smaller, then try again."],
  duration_limit: ["This clip is too long", "Cut it, then try again."],
  timeout: ["This clip took too long", "Try a shorter one."],
};

/** The sentence for a refusal: by its status first, then by its reason. */
export function describeRefusal(refusal: Refusal): Failure {
  const { status, reason, cause } = refusal;
  if (status === 0) {
    return retry("The server does not answer", "Check that it is running and that you are connected.");
  }
  if (status === 401) {
    return { title: "This server asks for a key", detail: "Enter its API key to go on.", remedy: "key" };
  }
  if (status === 413) return other("This file is too large", join(nameBytes(cause), "Choose a smaller one, or cut it."));
  if (status === 503 || status === 429) return describeBusy(refusal);
  if (status === 408) return retry("The upload was too slow", "Try again, or send a smaller file.");
  const known = reason === null ? undefined : BY_REASON[reason];
  if (known) return other(known[0], join(cause, known[1]));
  if (status >= 500) return retry("The server failed", join(cause, "Try again; if it stays so, see its log."));
  return other("This clip was refused", join(cause, "Try another clip."));
}

/** The connection ended within the upload; a server may do that to a file it will not take. */
export function describeCut(): Failure {
  return retry("The connection was cut", "The file may be larger than this server takes. Try again, or a smaller file.");
}

/** The server's answer is not one that this page knows. */
export function describeMalformed(cause: string): Failure {
  return retry("The answer makes no sense", `The page and the server may be of different versions (${cause}).`);
}

/** Camera or microphone could not be had; name: of the DOMException. */
export function describeCamera(name: string): Failure {
  const hints: Readonly<Record<string, string>> = {
    NotAllowedError: "The browser did not allow it. Change that beside the address, or choose a file.",
    NotFoundError: "None was found. Connect one, or choose a file.",
    NotReadableError: "Another program may be using it. Close that, or choose a file.",
    Insecure: "Browsers allow recording on https and on this machine only. Choose a file instead.",
  };
  return other("No camera or microphone", hints[name] ?? "The recording could not be made. Choose a file instead.");
}

function describeBusy({ reason, retryAfterS }: Refusal): Failure {
  const wait = retryAfterS === null ? "Try again in a moment." : `Try again in ${formatWait(retryAfterS)}.`;
  if (reason === "not_ready") return retry("The server is not ready yet", wait);
  if (reason === "draining") return retry("The server is shutting down", wait);
  return retry("The server is busy", wait);
}

/** A cause with its bytes in the unit that reads best. */
function nameBytes(cause: string | null): string | null {
  return cause?.replace(/\b(\d+) bytes\b/, (_, bytes: string) => formatBytes(Number(bytes))) ?? null;
}

function formatWait(seconds: number): string {
  const whole = Math.max(1, Math.ceil(seconds));
  return whole === 1 ? "a second" : `${whole} seconds`;
}

function join(cause: string | null, hint: string): string {
  return cause?.trim() ? `${finishSentence(cause)} ${hint}` : hint;
}

function retry(title: string, detail: string): Failure {
  return { title, detail, remedy: "retry" };
}

function other(title: string, detail: string): Failure {
  return { title, detail, remedy: "other" };
}
