/** Arrays through networks of onnxruntime, and what becomes of their answers. */

import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-web/wasm";

export interface Tensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}
export type Feed = Readonly<Record<string, Tensor>>;
/** A network: wanted outputs and inputs by name to outputs by name. */
export type Run = (wanted: readonly string[], feed: Feed) => Promise<Readonly<Record<string, Tensor>>>;

type MakeTensor = new (type: "float32", data: Float32Array, shape: readonly number[]) => OrtTensor;

/** A session as a function; Tensor: onnxruntime's class. */
export function toRun(session: InferenceSession, TensorClass: MakeTensor): Run {
  return async (wanted, feed) => {
    const given = Object.entries(feed).map(([name, t]) => [name, new TensorClass("float32", t.data, t.shape)] as const);
    const answers = await session.run(Object.fromEntries(given), [...wanted]);
    return Object.fromEntries(
      wanted.map((name) => {
        const answer = answers[name] as OrtTensor;
        return [name, { data: answer.data as Float32Array, shape: answer.dims }];
      }),
    );
  };
}

/** Softmax of logits. */
export function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const shifted = logits.map((v) => Math.exp(v - top));
  const sum = shifted.reduce((a, b) => a + b, 0);
  return shifted.map((v) => v / sum);
}
