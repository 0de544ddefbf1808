import { get, segment } from "../../api/client";
import type { RecordErrorInFull } from "../../api/types";
import { useAsked } from "../../parts/asked";
import { BeforeAfter, Key } from "../../parts/cell";
import { Dialog } from "../../parts/dialog";
import { Icon } from "../../parts/icons";
import { MappedImage } from "../../parts/image";
import { Ago } from "../../parts/moment";
import { Fix, ProblemCard, Waiting } from "../../parts/notice";
import { count } from "../../words/format";
import { opNames } from "../../words/names";

/** One error in full: what was refused and why, the record, and what would be written if it were tried now. */
export function ErrorDrawer({ id, onClose }: { id: string; onClose: () => void }) {
  const asked = useAsked<RecordErrorInFull>(id, (signal) => get(`/errors/${segment(id)}`, {}, signal));
  const error = asked.data;
  return (
    <Dialog title={`Error ${id}`} drawer onClose={onClose}>
      {asked.problem && <ProblemCard problem={asked.problem} />}
      {!error && !asked.problem && <Waiting what="the error" />}
      {error && (
        <>
          <div className="said-in-full">
            <p className="faint">{error.operation}</p>
            <p className="said">{error.message}</p>
            {error.fix && <Fix text={error.fix} />}
          </div>
          <dl className="facts">
            <dt>Status</dt>
            <dd>
              <span className={`status ${error.status}`}>{error.status}</span>
              {error.superseded_by !== null && <span className="faint"> by change {count(error.superseded_by)}</span>}
            </dd>
            <dt>Cause</dt>
            <dd>
              {error.class}
              {error.code && <span className="faint"> {error.code}</span>}
            </dd>
            <dt>Integration key</dt>
            <dd>
              <Key parts={error.key} />
            </dd>
            {error.op && (
              <>
                <dt>What</dt>
                <dd>
                  <span className={`op ${error.op}`}>{opNames[error.op]}</span>
                  {error.table && ` in ${error.table}`}
                </dd>
              </>
            )}
            <dt>Attempts</dt>
            <dd>
              {count(error.attempts)}, first <Ago at={error.first_at} />, last <Ago at={error.last_at} />
            </dd>
            <dt>Transaction</dt>
            <dd>{error.transaction || <span className="faint">has no name</span>}</dd>
          </dl>
          <h3>In the source</h3>
          <BeforeAfter before={error.old} after={error.new} />
          <h3>
            <Icon name="next" /> What would be written now
          </h3>
          <MappedImage mapped={error} />
        </>
      )}
    </Dialog>
  );
}
