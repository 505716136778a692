/** What the answer means and what it must not be used for. */
export function About({ local }: { local: boolean }) {
  return (
    <section class="about" aria-labelledby="about">
      <h2 id="about">Before you rely on it</h2>
      <ul>
        <li>
          <strong>Perceived, not felt.</strong> It names the expression that people would see and hear, not what
          somebody feels.
        </li>
        <li>
          <strong>Acted English.</strong> It learned from a few actors who spoke set sentences; elsewhere it is wrong
          more often.
        </li>
        <li>
          <strong>Not about people’s chances.</strong> Do not decide about persons with it. At work and in education
          the EU’s AI Act (Regulation 2024/1689, Article 5) bans it.
        </li>
        <li>
          {local ? (
            <>
              <strong>Not sent.</strong> Your clip is read in this browser and goes nowhere.
            </>
          ) : (
            <>
              <strong>Not kept.</strong> The server deletes your clip as soon as it has answered.
            </>
          )}
        </li>
      </ul>
      <p class="foot">
        {!local && (
          <>
            For programs: <a href="docs">the service’s API</a>.{" "}
          </>
        )}
        Licences: <a href="licenses.txt">of what this page is made of</a>.
      </p>
    </section>
  );
}
