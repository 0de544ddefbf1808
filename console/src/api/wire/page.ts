// A page of a list. What is behind it is asked for with `next`, and there is nothing behind it if that is null.

export interface Page<T> {
  items: T[];
  next: string | null;
}
