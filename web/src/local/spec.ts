/** What bundle.json says of clips and networks, as far as it is needed here. */

export interface FaceSpec {
  readonly frameRateHz: number;
  readonly sizePx: number;
  readonly margin: number;
  readonly minFacePx: number;
  readonly minConfidence: number;
  readonly detectMaxPx: number;
  readonly maxFrames: number;
  readonly maxGapS: number;
  readonly minCoverage: number;
  readonly detectEvery: number;
  readonly speaker: "largest" | "central";
  readonly decodeMaxPx: number;
}

export interface AudioSpec {
  readonly sampleRateHz: number;
  readonly nSamples: number;
  readonly durationS: number;
  readonly nFft: number;
  readonly silenceDbfs: number;
}

/** frames: how crops reach the network, as keras_emo.inference.batch has it. */
export interface BundleSpec {
  readonly name: string;
  readonly frames: "none" | "each" | "one" | "all";
  readonly inputs: readonly string[];
  readonly modalities: readonly string[];
  readonly face: FaceSpec;
  readonly audio: AudioSpec;
}

type Fields = Readonly<Record<string, unknown>>;

/** From the parsed bundle.json, which the export has checked. */
export function readBundle(info: Fields): BundleSpec {
  const clip = info.clip_spec as { face: Fields; audio: Fields };
  const inputs = (info.inputs as { name: string }[]).map((i) => i.name);
  return {
    name: String(info.name),
    frames: info.frames as BundleSpec["frames"],
    inputs,
    modalities: info.modalities as string[],
    face: readFace(clip.face),
    audio: readAudio(clip.audio),
  };
}

function readFace(given: Fields): FaceSpec {
  return {
    frameRateHz: take(given, "frame_rate_hz"),
    sizePx: take(given, "size_px"),
    margin: take(given, "margin"),
    minFacePx: take(given, "min_face_px"),
    minConfidence: take(given, "min_confidence"),
    detectMaxPx: take(given, "detect_max_px"),
    maxFrames: take(given, "max_frames"),
    maxGapS: take(given, "max_gap_s"),
    minCoverage: take(given, "min_coverage"),
    // settings that came later, with what was done before
    detectEvery: take(given, "detect_every", 1),
    speaker: given.speaker === "central" ? "central" : "largest",
    decodeMaxPx: take(given, "decode_max_px", 0),
  };
}

function readAudio(given: Fields): AudioSpec {
  const durationS = take(given, "duration_s");
  const sampleRateHz = take(given, "sample_rate_hz");
  return {
    sampleRateHz,
    durationS,
    nSamples: Math.round(durationS * sampleRateHz),
    nFft: take(given, "n_fft"),
    silenceDbfs: take(given, "silence_dbfs"),
  };
}

function take(given: Fields, key: string, otherwise?: number): number {
  const value = given[key] ?? otherwise;
  if (typeof value !== "number") throw new Error(`bundle.json: no number ${key}`);
  return value;
}
