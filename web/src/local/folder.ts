/** The files beside the page, each checked against the manifest before it is used. */

const MANIFEST = "manifest.json";

/** A file that is missing, or another one than was exported. */
export class FolderError extends Error {}

interface Entry {
  readonly sha256: string;
  readonly bytes: number;
}

export class Folder {
  private constructor(
    private readonly address: string,
    private readonly files: Readonly<Record<string, Entry>>,
  ) {}

  /** address: of the page, as relative names begin there. Throws FolderError. */
  static async open(address: string): Promise<Folder> {
    const text = new TextDecoder().decode(await load(new URL(MANIFEST, address)));
    return new Folder(address, (JSON.parse(text) as { files: Record<string, Entry> }).files);
  }

  has(name: string): boolean {
    return name in this.files;
  }

  /** Throws FolderError. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const known = this.files[name];
    if (!known) throw new FolderError(`${name} is not in ${MANIFEST}`);
    const data = await load(new URL(name, this.address));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== known.sha256) throw new FolderError(`${name} is not the file that was exported`);
    return data;
  }
}

async function load(address: URL): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) throw new FolderError(`${address.pathname.split("/").at(-1)} cannot be loaded`);
  return new Uint8Array(await response.arrayBuffer());
}
