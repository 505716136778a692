import { useState } from "preact/hooks";
import type { Failure } from "../failure";
import type { Clip } from "../state";

interface Props {
  failure: Failure;
  clip: Clip | null;
  oldKey: string;
  retry(clip: Clip, key: string): void;
}

/** What went wrong and what helps. */
export function FailureView({ failure, clip, oldKey, retry }: Props) {
  const [key, setKey] = useState("");
  return (
    <section class="card failure" aria-labelledby="failure">
      <svg viewBox="0 0 24 24" class="failure-sign" aria-hidden="true">
        <circle cx="12" cy="12" r="9.500" />
        <path d="M12 7v6.500M12 16.500v.1" />
      </svg>
      <div>
        <h2 id="failure" tabIndex={-1} data-first>
          {failure.title}
        </h2>
        <p>
          {failure.detail}
          {clip && <span class="hint name"> ({clip.name})</span>}
        </p>
        {failure.remedy === "retry" && clip && (
          <button type="button" class="button main" onClick={() => retry(clip, oldKey)}>
            Try again
          </button>
        )}
        {failure.remedy === "key" && clip && (
          <form
            class="key"
            onSubmit={(e) => {
              e.preventDefault();
              retry(clip, key.trim());
            }}
          >
            <label for="key">API key</label>
            <div class="row">
              <input
                id="key"
                type="password"
                autocomplete="off"
                required
                value={key}
                onInput={(e) => setKey(e.currentTarget.value)}
              />
              <button type="submit" class="button main">
                Send with key
              </button>
            </div>
            <p class="hint">
              {oldKey ? "The last key was not taken. " : ""}It stays in this page’s memory until you close it.
            </p>
          </form>
        )}
      </div>
    </section>
  );
}
