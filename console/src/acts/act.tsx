import type { Verb } from "../api/wire/action";
import { PauseDialog } from "./pause";
import { ResumeDialog, SkipDialog } from "./resume";
import { RunDialog } from "./run";
import { StopDialog } from "./stop";
import type { Target } from "./target";

/** The dialog of an action. */
export function ActDialog(props: { verb: Verb; target: Target; onClose: () => void }) {
  const { verb, ...rest } = props;
  switch (verb) {
    case "pause":
      return <PauseDialog {...rest} />;
    case "resume":
      return <ResumeDialog {...rest} />;
    case "skip":
      return <SkipDialog {...rest} />;
    case "run":
      return <RunDialog {...rest} />;
    case "stop":
      return <StopDialog {...rest} />;
  }
}
