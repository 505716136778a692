/** Loads the bundle beside the page into onnxruntime. */

import * as ort from "onnxruntime-web/wasm";
import type { Engine } from "./clip";
import { FaceDetector } from "./detector";
import { Folder } from "./folder";
import { type Run, toRun } from "./network";
import { readBundle } from "./spec";

const WASM = "ort-wasm-simd-threaded.wasm";

/** address: of the page. Throws FolderError. */
export async function loadEngine(address: string): Promise<Engine> {
  const folder = await Folder.open(address);
  ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
  ort.env.wasm.wasmBinary = (await folder.read(WASM)).buffer;
  ort.env.logLevel = "error";
  const open = async (name: string): Promise<Run> =>
    toRun(await ort.InferenceSession.create(await folder.read(name)), ort.Tensor);
  const spec = readBundle(JSON.parse(new TextDecoder().decode(await folder.read("bundle.json"))));
  const network = await open(spec.inputs.includes("mfcc") ? "waveform.onnx" : "model.onnx");
  const pnet = await open("detector/pnet.onnx");
  const rnet = await open("detector/rnet.onnx");
  const onet = await open("detector/onet.onnx");
  return { spec, network, detector: new FaceDetector({ pnet, rnet, onet }, spec.face) };
}
