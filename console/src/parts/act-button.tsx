import { useLive } from "../api/live";
import { Button, type ButtonProps } from "./button";

/** A button that asks the server for something: shut while it does not answer, so that it promises nothing. */
export function ActButton(props: ButtonProps) {
  const { problem } = useLive();
  if (problem === null) return <Button {...props} />;
  return <Button {...props} disabled title={problem.title} />;
}
