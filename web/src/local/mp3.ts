/** What an encoder says it put before and after the sound of an MP3, which demuxers do not take off. */

const SEARCHED = 1 << 16; // bytes after the tag with title and artist
const DELAYS = 141; // from the mark, where all parts of the header are there
const ALL_PARTS = 0xf;
const DECODER = 528 + 1; // samples a decoder is late

/** Samples to leave out at the start, and how many there are after that; null where it is not said. */
export async function readPadding(file: Blob): Promise<{ skip: number; length: number } | null> {
  const head = new DataView(await file.slice(0, 10).arrayBuffer());
  const tagged = head.byteLength === 10 && head.getUint32(0) >>> 8 === 0x494433; // ID3, its size in 7 bits a byte
  const size = [6, 7, 8, 9].reduce((sum, at) => sum * 128 + (tagged ? head.getUint8(at) : 0), 0);
  const start = tagged ? size + 10 : 0;
  const data = new Uint8Array(await file.slice(start, start + SEARCHED).arrayBuffer());
  const text = new TextDecoder("latin1").decode(data.subarray(0, 64));
  const mark = Math.max(text.indexOf("Xing"), text.indexOf("Info"));
  if (mark < 0 || mark + DELAYS + 3 > data.length) return null;
  const view = new DataView(data.buffer, mark);
  if ((view.getUint32(4) & ALL_PARTS) !== ALL_PARTS) return null;
  const [delay, padding] = [view.getUint16(DELAYS) >> 4, view.getUint16(DELAYS + 1) & 0xfff];
  const perFrame = ((data[1] ?? 0) >> 3) & 1 ? 1152 : 576;
  if (!delay && !padding) return null;
  return { skip: delay + DECODER, length: view.getUint32(8) * perFrame - delay - padding };
}
