/** Picture and sound of a file: demuxed by mediabunny, decoded by the browser. */

import {
  BlobSource,
  EncodedPacketSink,
  FLAC,
  Input,
  type InputAudioTrack,
  type InputVideoTrack,
  MATROSKA,
  MP3,
  MP4,
  OGG,
  QTFF,
  WAVE,
  WEBM,
} from "mediabunny";
import { readFrame, type Scale } from "./frames";
import { readSound } from "./hearing";
import type { Rgb } from "./image";
import { type Media, note } from "./recording";
import { ClipError } from "./refusal";
import { SampleGrid } from "./sampling";
import type { FaceSpec } from "./spec";

const FORMATS = [MP4, QTFF, WEBM, MATROSKA, WAVE, MP3, FLAC, OGG];
const MAX_PIXELS = 4096 * 2304;
const QUEUE = 16; // packets a decoder is given ahead
const HELD = 3; // decoded frames that wait

/** A sampled frame, upright, and its time from the first one. */
export interface Sample {
  readonly rgb: Rgb;
  readonly scale: Scale;
  readonly timeS: number;
}

export interface Wanted {
  readonly face: FaceSpec | null;
  /** How much sound, and at which rate; null: none. */
  readonly sound: { readonly rateHz: number; readonly seconds: number } | null;
  /** Hears of sampled frames, one after the other. */
  take(sample: Sample): Promise<void>;
  /** Hears how much of the picture is read. */
  tell(share: number): void;
}

/** One pass over a file. Throws ClipError. */
export async function readMedia(file: Blob, wanted: Wanted): Promise<Media> {
  if (!file.size) throw new ClipError("empty_file", "the file has no bytes");
  const input = new Input({ formats: FORMATS, source: new BlobSource(file) });
  try {
    const { videos, audios } = await open(input, file);
    const media: Media = {
      hasVideo: false,
      undecodable: [],
      sound: null,
      durationS: 0,
      damagedPackets: 0,
      missingS: 0,
      cut: false,
    };
    if (videos[0] && wanted.face) await readVideo(videos[0], wanted.face, wanted, media);
    if (audios[0] && wanted.sound) media.sound = await readSound(audios[0], file, wanted.sound, media);
    return media;
  } finally {
    input.dispose();
  }
}

async function open(input: Input, file: Blob): Promise<{ videos: InputVideoTrack[]; audios: InputAudioTrack[] }> {
  try {
    const [videos, audios] = await Promise.all([input.getVideoTracks(), input.getAudioTracks()]);
    if (videos.length || audios.length) return { videos, audios };
  } catch {
    // a demuxer fails in many ways on what is no recording
  }
  const head = new TextDecoder("latin1").decode(await file.slice(0, 16).arrayBuffer());
  if (head.slice(4, 8) === "ftyp") {
    throw new ClipError("truncated_container", "the index is missing; the file may be cut short");
  }
  throw new ClipError("not_media", "not a readable audio or video file");
}

async function readVideo(track: InputVideoTrack, spec: FaceSpec, wanted: Wanted, media: Media): Promise<void> {
  const config = await track.getDecoderConfig();
  if (!config || !(await VideoDecoder.isConfigSupported(config)).supported) {
    media.undecodable.push("video");
    return;
  }
  media.hasVideo = true;
  checkSize(config.codedWidth ?? 0, config.codedHeight ?? 0);
  const [stats, endS, turns] = await Promise.all([
    track.computePacketStats(),
    track.computeDuration(),
    track.getRotation().then((degrees) => ((360 - degrees) / 90) % 4),
  ]);
  const reader = new FrameReader(spec, stats.averagePacketRate ? 1 / stats.averagePacketRate : 1 / 30);
  const decoder = new VideoDecoder({ output: (f) => reader.see(f), error: (e) => reader.fail(e) });
  const handOn = async (): Promise<void> => {
    const next = reader.waiting.shift();
    if (!next) return;
    try {
      checkSize(next.frame.displayWidth, next.frame.displayHeight);
      await wanted.take({ ...(await readFrame(next.frame, spec.decodeMaxPx, turns)), timeS: next.timeS });
    } finally {
      next.frame.close();
    }
  };
  try {
    decoder.configure(config);
    for await (const packet of new EncodedPacketSink(track).packets()) {
      if (reader.cut || reader.failure) break;
      const chunk = packet.toEncodedVideoChunk();
      reader.times.set(chunk.timestamp, packet.timestamp);
      decoder.decode(chunk);
      wanted.tell(endS > 0 ? Math.max(0, Math.min(packet.timestamp / endS, 1)) : 0);
      while (!reader.failure && (decoder.decodeQueueSize > QUEUE || reader.waiting.length > HELD)) {
        if (reader.waiting.length) await handOn();
        else await hearOfDecoder(decoder);
      }
    }
    if (!reader.failure && !reader.cut) await decoder.flush();
  } catch (error) {
    if (error instanceof ClipError) throw error;
    reader.fail(error); // of the demuxer, or the decoder's once more
  } finally {
    if (decoder.state !== "closed") decoder.close();
  }
  while (reader.waiting.length) await handOn();
  media.cut = reader.cut;
  media.damagedPackets += reader.failure ? 1 : 0;
  note(media, reader.endS, reader.cut ? null : await track.getDurationFromMetadata());
  if (reader.cut) media.durationS = Math.max(media.durationS, endS);
}

/** Which decoded frames are kept. */
class FrameReader {
  readonly waiting: { frame: VideoFrame; timeS: number }[] = [];
  /** Exact times in s of the packets by their rounded ones in microseconds. */
  readonly times = new Map<number, number>();
  cut = false;
  failure: unknown = null;
  endS = 0;
  private readonly grid: SampleGrid;
  private startS: number | null = null;
  private nKept = 0;

  constructor(
    private readonly spec: FaceSpec,
    private readonly stepS: number,
  ) {
    this.grid = new SampleGrid(spec.frameRateHz, stepS);
  }

  see(frame: VideoFrame): void {
    const shownS = this.times.get(frame.timestamp) ?? frame.timestamp / 1e6;
    this.startS ??= shownS < 0 ? null : shownS; // what is before 0 is not to be shown
    const timeS = this.startS === null ? -1 : shownS - this.startS;
    this.times.delete(frame.timestamp);
    this.endS = Math.max(this.endS, timeS + Math.max(this.stepS, (frame.duration ?? 0) / 1e6));
    if (timeS < 0 || this.cut || !this.grid.isDue(timeS)) return frame.close();
    if (this.nKept === this.spec.maxFrames) {
      this.cut = true;
      return frame.close();
    }
    this.nKept += 1;
    this.grid.take(timeS);
    this.waiting.push({ frame, timeS });
  }

  fail(error: unknown): void {
    this.failure ??= error;
  }
}

function hearOfDecoder(decoder: VideoDecoder): Promise<void> {
  return new Promise((resolve) => {
    decoder.addEventListener("dequeue", () => resolve(), { once: true });
    setTimeout(resolve, 50); // one that failed says no more
  });
}

function checkSize(width: number, height: number): void {
  if (width * height > MAX_PIXELS) {
    throw new ClipError("resolution_limit", `${width}x${height}, at most ${MAX_PIXELS} pixels`);
  }
}
