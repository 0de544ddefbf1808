import type { TableMap } from "../api/wire/map";
import { stateOf } from "../words/names";
import { Icon, type IconName } from "./icons";

const icons: Record<TableMap["state"], IconName> = { not_running: "stop", initializing: "retry", running: "check", paused: "pause", resuming: "play" };

/** A map's state: in words, with a colour and a sign. */
export function StatePill({ map }: { map: TableMap }) {
  return (
    <span className={`pill ${map.pausing ? "paused" : map.state}`}>
      <Icon name={icons[map.pausing ? "paused" : map.state]} />
      {stateOf(map)}
    </span>
  );
}
