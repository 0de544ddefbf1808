import { segment } from "../../api/client";
import type { RecordErrorInFull } from "../../api/wire/error";
import { Said } from "../../parts/cell";
import { Ago } from "../../parts/moment";
import { Fix } from "../../parts/notice";
import { RecordDrawer } from "../../parts/record";
import { causeName, codeOf } from "../../words/faults";
import { count } from "../../words/format";

/** One error in full: what was refused and why, the record, and what would be written if it were tried now. */
export function ErrorDrawer({ id, onClose }: { id: string; onClose: () => void }) {
  const said = (error: RecordErrorInFull) => (
    <div className="said-in-full">
      <p className="faint">{error.operation}</p>
      <p className="said">
        <Said text={error.message} />
      </p>
      {error.fix && <Fix text={error.fix} />}
    </div>
  );
  return (
    <RecordDrawer<RecordErrorInFull> title={`Error ${id}`} path={`/errors/${segment(id)}`} onClose={onClose} first={said}>
      {(error) => (
        <>
          <dt>Status</dt>
          <dd>
            <span className={`status ${error.status}`}>{error.status}</span>
            {error.superseded_by !== null && <span className="faint"> by change {count(error.superseded_by)}</span>}
          </dd>
          <dt>Cause</dt>
          <dd>
            {causeName(error.class, error.code)}
            {codeOf(error.code) && <span className="faint"> {codeOf(error.code)}</span>}
          </dd>
          <dt>Attempts</dt>
          <dd>
            {count(error.attempts)}, first <Ago at={error.first_at} />, last <Ago at={error.last_at} />
          </dd>
        </>
      )}
    </RecordDrawer>
  );
}
