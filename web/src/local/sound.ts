/** Sound made mono, brought to the network's rate, and found fit to be heard. */

import type { AudioSpec } from "./spec";

/** The mean of channels of equal length. */
export function mixDown(channels: readonly Float32Array[]): Float32Array {
  const [first, ...rest] = channels;
  if (!first) return new Float32Array(0);
  if (!rest.length) return first;
  const sum = first.slice();
  for (const channel of rest) for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (channel[i] as number);
  return sum.map((v) => v / channels.length);
}

/** Blocks one after the other. */
export function join(blocks: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(blocks.reduce((n, b) => n + b.length, 0));
  let at = 0;
  for (const block of blocks) {
    whole.set(block, at);
    at += block.length;
  }
  return whole;
}

const PASSED = 0.913; // of the narrower band, as soxr's high quality keeps it
const BETA = 12.98; // of the Kaiser window: 126 dB
const PHASES = 4096; // at most, of a filter that is worked out once

/** Sound at another rate, by a windowed sine as long as 126 dB and soxr's band ask for. */
export function resample(sound: Float32Array, fromHz: number, toHz: number): Float32Array {
  if (fromHz === toHz) return sound;
  const common = greatestDivisor(fromHz, toHz);
  const [up, down] = [toHz / common, fromHz / common];
  const narrow = Math.min(1, toHz / fromHz);
  const half = Math.ceil((126.4 - 7.95) / (2.285 * 2 * Math.PI * (1 - PASSED) * (narrow / 2)) / 2);
  const cutOff = (narrow * (1 + PASSED)) / 2;
  const taps = (phase: number): Float64Array =>
    Float64Array.from({ length: 2 * half }, (_, k) => weighTap(k - half + 1 - phase, half, cutOff));
  const known = up <= PHASES ? Array.from({ length: up }, (_, i) => taps(i / up)) : null;
  const out = new Float32Array(Math.round((sound.length * toHz) / fromHz));
  for (let i = 0; i < out.length; i++) {
    const at = Math.floor((i * down) / up);
    const phase = (i * down) % up;
    const weights = known ? (known[phase] as Float64Array) : taps(phase / up);
    let sum = 0;
    const [from, to] = [Math.max(0, half - 1 - at), Math.min(2 * half, sound.length - at + half - 1)];
    for (let k = from; k < to; k++) sum += (weights[k] as number) * (sound[at + k - half + 1] as number);
    out[i] = sum;
  }
  return out;
}

function weighTap(t: number, half: number, cutOff: number): number {
  const inside = 1 - (t / half) ** 2;
  if (inside <= 0) return 0;
  const sine = t === 0 ? 1 : Math.sin(Math.PI * cutOff * t) / (Math.PI * cutOff * t);
  return (cutOff * sine * bessel(BETA * Math.sqrt(inside))) / bessel(BETA);
}

/** Modified Bessel function of the first kind, order 0. */
function bessel(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/** Why sound at the network's rate is no use; null where it is. */
export function judge(sound: Float32Array, spec: AudioSpec): "too_short" | "silent_audio" | null {
  if (sound.length < spec.nFft) return "too_short";
  const mean = sound.reduce((a, b) => a + b, 0) / sound.length;
  const spread = sound.reduce((most, v) => Math.max(most, Math.abs(v - mean)), 0);
  return spread < 10 ** (spec.silenceDbfs / 20) ? "silent_audio" : null;
}
