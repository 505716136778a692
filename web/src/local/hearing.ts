/** The sound of a file: decoded, mono, at the rate asked for. */

import { AudioSampleSink, type InputAudioTrack, MATROSKA, MP3, WEBM } from "mediabunny";
import { readPadding } from "./mp3";
import { type Media, note } from "./recording";
import { ClipError } from "./refusal";
import { join, mixDown, resample } from "./sound";

const [OPUS_DELAY, OPUS_HZ, OPUS_PACKET_S] = [10, 48_000, 0.12]; // where its header has it; the longest

/** The first seconds of a track; null where there is none to hear. Throws ClipError. */
export async function readSound(
  track: InputAudioTrack,
  file: Blob,
  { rateHz, seconds }: { rateHz: number; seconds: number },
  media: Media,
): Promise<Float32Array | null> {
  if (!(await track.canDecode())) {
    media.undecodable.push("audio");
    return null;
  }
  const blocks: Float32Array[] = [];
  let [n, fromHz] = [0, rateHz];
  const padding = (await track.input.getFormat()) === MP3 ? await readPadding(file) : null;
  let [skip, left] = [padding?.skip ?? 0, padding?.length ?? Infinity];
  try {
    for await (const sample of new AudioSampleSink(track).samples()) {
      fromHz = sample.sampleRate;
      const channels = Array.from({ length: sample.numberOfChannels }, (_, planeIndex) => {
        const data = new Float32Array(sample.numberOfFrames);
        sample.copyTo(data, { planeIndex, format: "f32-planar" });
        return data;
      });
      // what is before 0 is the encoder's run-up
      const before = Math.min(Math.max(0, Math.round(-sample.timestamp * fromHz)), sample.numberOfFrames);
      sample.close();
      const after = Math.min(skip, sample.numberOfFrames - before);
      const block = mixDown(channels).subarray(before + after).subarray(0, left);
      [skip, left] = [skip - after, left - block.length];
      blocks.push(block);
      n += block.length;
      if (n >= seconds * fromHz) break;
    }
  } catch {
    media.damagedPackets += 1; // what came before is used
  }
  const heard = n >= seconds * fromHz;
  if (!heard) n -= Math.round((await measureSurplus(track, n / fromHz)) * fromHz);
  note(media, n / fromHz, heard ? null : await track.getDurationFromMetadata());
  if (heard) media.durationS = Math.max(media.durationS, await track.computeDuration());
  if (!n) return null;
  const sound = join(blocks).subarray(0, Math.min(n, Math.round(seconds * fromHz)));
  if (sound.some((v) => !Number.isFinite(v))) {
    throw new ClipError("non_finite_audio", "the sound holds NaN or infinite samples");
  }
  return resample(sound, fromHz, rateHz);
}

/**
 * How much of the last packet of Opus in Matroska is filling, in s: the file says so in a way that
 * the demuxer passes over, but also says how long it is, with what comes before the sound.
 */
async function measureSurplus(track: InputAudioTrack, endS: number): Promise<number> {
  const [format, codec, declaredS, config] = await Promise.all([
    track.input.getFormat(),
    track.getCodec(),
    track.getDurationFromMetadata(),
    track.getDecoderConfig(),
  ]);
  if ((format !== WEBM && format !== MATROSKA) || codec !== "opus" || !declaredS || !config?.description) return 0;
  const head = toView(config.description);
  const surplusS = endS - (declaredS - head.getUint16(OPUS_DELAY, true) / OPUS_HZ);
  return surplusS > 0 && surplusS < OPUS_PACKET_S ? surplusS : 0;
}

function toView(data: AllowSharedBufferSource): DataView {
  return ArrayBuffer.isView(data) ? new DataView(data.buffer, data.byteOffset, data.byteLength) : new DataView(data);
}
