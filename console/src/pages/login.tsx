import { type FormEvent, useState } from "react";
import { problemOf } from "../api/client";
import { signIn } from "../api/session";
import type { Problem, Session } from "../api/types";
import { Button } from "../parts/button";
import { Mark } from "../parts/mark";
import { ProblemCard } from "../parts/notice";

export function Login({ onSignedIn }: { onSignedIn: (session: Session) => void }) {
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
        {problem && <ProblemCard problem={problem} />}
        <Button type="submit" kind="main" disabled={busy || token.trim() === ""}>
          {busy ? "Signing in …" : "Sign in"}
        </Button>
        <details>
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
