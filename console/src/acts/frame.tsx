// What every dialog of an action on maps has beside a form: what will happen to which map, and what is lost by it.

import { type ReactNode, useState } from "react";
import type { Action } from "../api/wire/action";
import { ProblemCard } from "../parts/notice";
import { ActForm } from "./form";
import { type Loss, LossConfirmation, noConsent } from "./loss";
import { PlanView, type Planned } from "./planned";
import { perform } from "./target";

interface Props {
  title: string;
  effect: string;
  danger?: boolean;
  action: Action;
  planned: Planned;
  /** What is lost if it is done as it is chosen. */
  loss?: Loss | null;
  onClose: () => void;
  children?: ReactNode;
}

export function ActionFrame({ title, effect, danger, action, planned, loss = null, onClose, children }: Props) {
  const [consent, setConsent] = useState(noConsent);
  const change = (change: Partial<typeof consent>) => setConsent((before) => ({ ...before, ...change }));
  const isBlocked = planned.plan === null || planned.problem !== null || planned.plan.blockers.length > 0;
  const expected = loss && !consent.alsoNew ? { expected: loss.records } : {};
  return (
    <ActForm
      title={title}
      effect={effect}
      danger={danger === true || loss !== null}
      incomplete={isBlocked || (loss !== null && consent.typed !== loss.name)}
      reasonNeeded={loss !== null}
      act={(reason) => perform({ ...action, ...expected, reason })}
      onClose={onClose}
      onRefused={(problem) => problem.status === 409 && change({ moved: true })}
    >
      {children}
      {loss && <LossConfirmation loss={loss} consent={consent} change={change} />}
      {planned.plan && <PlanView plan={planned.plan} />}
      {planned.problem && <ProblemCard problem={planned.problem} />}
    </ActForm>
  );
}

/** One of a few ways, with what each means. */
export function Choice<T extends string>(props: { name: string; value: T; chosen: T; onChoose: (value: T) => void; title: string; children: ReactNode }) {
  return (
    <label className={props.value === props.chosen ? "choice chosen" : "choice"}>
      <input type="radio" name={props.name} checked={props.value === props.chosen} onChange={() => props.onChoose(props.value)} />
      <span>
        <strong>{props.title}</strong>
        <span className="choice-text">{props.children}</span>
      </span>
    </label>
  );
}
