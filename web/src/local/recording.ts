/** What was read of a file. */

const [TOLERANCE_S, TOLERANCE] = [0.2, 0.05]; // of a stream's end, as media/decode.py has them

export interface Media {
  hasVideo: boolean;
  /** Kinds of stream that are there but cannot be decoded here. */
  undecodable: string[];
  /** Mono at the rate asked for. */
  sound: Float32Array | null;
  durationS: number;
  damagedPackets: number;
  missingS: number;
  /** Frames beyond the limit were left out. */
  cut: boolean;
}

/** A stream was read to endS; declaredS: how far the file says it goes, null where that is no matter. */
export function note(media: Media, endS: number, declaredS: number | null): void {
  media.durationS = Math.max(media.durationS, endS);
  const lackS = (declaredS ?? 0) - endS;
  if (lackS > Math.max(TOLERANCE_S, TOLERANCE * (declaredS ?? 0))) media.missingS = Math.max(media.missingS, lackS);
}
