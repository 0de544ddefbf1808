import { type ReactNode, useEffect, useId, useRef } from "react";
import { Icon } from "./icons";

/**
 * A dialog over the page, or a drawer at its side. The browser's own element: it keeps the focus within, closes with
 * Escape, and gives the focus back to what opened it.
 */
export function Dialog(props: { title: string; onClose: () => void; drawer?: boolean; children: ReactNode }) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const opener = useRef<Element | null>(null);
  useEffect(() => {
    opener.current = document.activeElement;
    const dialog = element.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (opener.current instanceof HTMLElement) opener.current.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      className={props.drawer ? "dialog drawer" : "dialog"}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === element.current) props.onClose();
      }}
    >
      <div className="dialog-inner">
        <header>
          <h2 id={heading}>{props.title}</h2>
          <button type="button" className="button quiet close" aria-label="Close" onClick={props.onClose}>
            <Icon name="close" />
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}
