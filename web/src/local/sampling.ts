/** Which pictures are kept: the first at or after each of regular times. */

/** stepS: between two pictures of the stream; half of it is tolerated. */
export class SampleGrid {
  private nextIndex = 0;

  constructor(
    private readonly rateHz: number,
    private readonly stepS: number,
  ) {}

  /** Whether a picture is kept; startS: its time from the first one. */
  isDue(startS: number): boolean {
    return startS + this.stepS / 2 >= this.nextIndex / this.rateHz;
  }

  /** A picture is kept; the next one is due later. */
  take(startS: number): void {
    const reached = Math.trunc((startS + this.stepS / 2) * this.rateHz);
    this.nextIndex = Math.max(this.nextIndex, reached) + 1;
  }
}
