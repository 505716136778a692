/** A clip that cannot be used; reason as keras_emo's errors name it. */
export class ClipError extends Error {
  constructor(
    readonly reason: string,
    readonly why: string,
  ) {
    super(`${reason}: ${why}`);
  }
}
