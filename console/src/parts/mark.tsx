/** The sign of Tandem: two wheels, joined. */
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" className="mark-back" />
      <circle cx="11" cy="16" r="5.5" className="mark-left" />
      <circle cx="21" cy="16" r="5.5" className="mark-right" />
    </svg>
  );
}
