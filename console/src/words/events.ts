// What happened, out of the name of an entry of the activity log.

const known: Record<string, string> = {
  "map.pause": "Pause asked for",
  "map.resume": "Resume asked for",
  "map.run": "Run asked for",
  "map.stop": "Stop asked for",
  "map.skip": "Skip to live asked for",
  "map.initializing": "Starting",
  "map.running": "Running",
  "map.paused": "Paused",
  "map.resuming": "Catching up",
  "map.not_running": "Stopped",
  "map.verify": "Comparison begun",
  "map.verified": "Comparison ended",
  "map.limit_reached": "A limit was reached",
  "map.window_over": "The planned end of the pause is over",
  "map.left_behind": "Given up by a forced stop",
  "map.source_lost": "Source not connected",
  "map.source_back": "Source connected again",
  "map.destination_lost": "Destination not connected",
  "map.destination_back": "Destination connected again",
  "map.rule_fired": "A rule fired",
  "map.rule_paused": "Paused by a rule",
  "map.rule_resumed": "Resumed by a rule",
  "map.rule_withdrew": "A rule took its pause back",
  "copy.begun": "Initial sync begun",
  "copy.ended": "Initial sync ended",
  "copy.failed": "Initial sync ended with errors",
  "queue.discarded": "Queue discarded",
  "queue.preserved": "Queue preserved as errors",
  "queue.dropped": "Queued records dropped",
  "errors.retry": "Retry asked for",
  "errors.retried": "Retry ended",
  "errors.retry_cancelled": "Retry cancelled",
  "errors.deleted": "Errors deleted",
  "errors.released": "Old errors released",
  "guard.bypassed": "A guard was bypassed",
  "schema.changed": "A table was changed",
  "schema.looked": "Tables looked at",
  "rule.enabled": "Rule enabled",
  "rule.disabled": "Rule disabled",
  "session.started": "Signed in to the console",
  "session.ended": "Signed out of the console",
  "token.created": "Token made",
  "token.revoked": "Token revoked",
  "source.held": "The source is not read any more",
  "source.released": "The source is read again",
  "access.denied": "Access denied",
};

/** `map.rule_paused` is "Paused by a rule"; of one that is not known here, what its name says. */
export function eventName(event: string): string {
  const plain = (event.split(".").pop() ?? event).replaceAll("_", " ");
  return known[event] ?? plain.charAt(0).toUpperCase() + plain.slice(1);
}

/** Who did it. The command line says who sits in front of it behind the token that it shows. */
export function actorName(actor: string): string {
  const [, token, user] = /^(.*) \(for cli:(.*)\)$/.exec(actor) ?? [];
  if (token === undefined) return actor === "tandem" ? "Tandem" : actor;
  return user === "unknown" ? `${token}, on the command line` : `${user}, on the command line (${token})`;
}
