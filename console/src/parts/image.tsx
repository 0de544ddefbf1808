import type { Mapped } from "../api/wire/image";
import { imageNames } from "../words/names";
import { Cell, Said } from "./cell";
import { Notice } from "./notice";

/** What the map makes of a change: the destination's columns, or why nothing can be written. */
export function MappedImage({ mapped }: { mapped: Mapped }) {
  const { image, unwritable } = mapped;
  if (unwritable) {
    return (
      <Notice kind="warn" title="It cannot be written as the map stands">
        <p>
          <Said text={unwritable.message} />
        </p>
        <p className="faint">{unwritable.fix}</p>
      </Notice>
    );
  }
  if (!image) return <p className="faint">The map is stopped: nothing would be written.</p>;
  const rows = Object.entries(image.values ?? image.key);
  return (
    <>
      <p>
        {imageNames[image.op]}
        {image.table && (
          <>
            {" "}
            in <strong>{image.table}</strong>
          </>
        )}
      </p>
      {rows.length > 0 && (
        <table className="compare">
          <thead>
            <tr>
              <th scope="col">Column</th>
              <th scope="col">{image.op === "delete" ? "Key" : "Value"}</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([column, value]) => {
              const through = image.looked_up?.[column];
              return (
                <tr key={column}>
                  <th scope="row">
                    {column}
                    {column in image.key && <span className="faint"> key</span>}
                  </th>
                  <td>
                    <Cell value={value} />
                    {through && (
                      <span className="faint">
                        {" "}
                        looked up through {through.map}: {through.state === "found" ? <Cell value={through.value} /> : through.state}
                      </span>
                    )}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
    </>
  );
}
