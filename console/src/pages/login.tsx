import { type FormEvent, useState } from "react";
import { problemOf } from "../api/client";
import { signIn } from "../api/session";
import type { Problem } from "../api/wire/problem";
import type { Session } from "../api/wire/session";
import { Button } from "../parts/button";
import { Mark } from "../parts/mark";
import { Notice, ProblemCard } from "../parts/notice";

export function Login({ ended, onSignedIn }: { ended: boolean; onSignedIn: (session: Session) => void }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    signIn(token.trim())
      .then(onSignedIn, (why: unknown) => setProblem(problemOf(why)))
      .finally(() => setBusy(false));
  };
  return (
    <main className="login">
      <form onSubmit={submit}>
        <h1>
          <Mark /> Tandem
        </h1>
        {ended && !problem && (
          <Notice kind="info" title="Your session has ended">
            <p>The server was started anew, your token was taken back, or the session's time was over. Sign in again, and you are back where you were.</p>
          </Notice>
        )}
        <label className="field">
          <span>Token</span>
          <input
            type="password"
            name="token"
            value={token}
            autoComplete="current-password"
            autoFocus
            required
            placeholder="tdm_…"
            onChange={(event) => setToken(event.target.value)}
          />
        </label>
        {problem &&
          (problem.status === 401 ? (
            <div role="alert">
              <Notice kind="bad" title="This token is not taken">
                <p>{reasons[problem.code] ?? problem.detail}</p>
              </Notice>
            </div>
          ) : (
            <ProblemCard problem={problem} />
          ))}
        <Button type="submit" kind="main" disabled={busy || token.trim() === ""}>
          {busy ? "Signing in …" : "Sign in"}
        </Button>
        <details open={problem?.status === 401 || undefined}>
          <summary>Where do I get a token?</summary>
          <p>
            On the machine of the server, its own user finds one in the file <code>token</code> of the data folder. For others, somebody
            with the role admin makes them:
          </p>
          <pre>tandem token create ann --role operator</pre>
        </details>
      </form>
    </main>
  );
}

/** What the server says to programs, for somebody in front of a page. */
const reasons: Record<string, string> = {
  token_unknown: "It was revoked, is another server's, or was not copied whole.",
  token_expired: "Its time is over. Ask for a new one.",
};
