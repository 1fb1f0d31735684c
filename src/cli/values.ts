// Values of maps as text for a person, and as a line of JSON for a program.

/**
 * One object as a line of JSON. A bigint becomes a number literal with all its digits, bytes a string of hex digits.
 */
export function jsonLine(value: object): string {
  return `${json(value)}\n`;
}

function json(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return `"${hex(value)}"`;
  if (Array.isArray(value)) return `[${value.map(json).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${json(member)}`).join(",")}}`;
  }
  if (typeof value === "number" && !Number.isFinite(value)) return "null";
  return JSON.stringify(value);
}

/** A value as C would write it, near enough: `{ packets: 3, bytes: 180 }`; bytes as `0a 00 00 01`. */
export function text(value: unknown): string {
  if (value instanceof Uint8Array) return hex(value, " ");
  if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value);
    return members.length === 0
      ? "{}"
      : `{ ${members.map(([name, member]) => `${name}: ${text(member)}`).join(", ")} }`;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** Whether nothing but zeros is in a value: an element of an array that nobody has written. */
export function isZero(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.every((byte) => byte === 0);
  if (Array.isArray(value)) return value.every(isZero);
  if (typeof value === "object" && value !== null) return Object.values(value).every(isZero);
  return value === 0 || value === 0n || value === false || value === "";
}

/** `1,234,567`. */
export const grouped = (value: number | bigint): string => value.toLocaleString("en-US");

/** `1 packet`, `2 packets`. */
export const count = (amount: number | bigint, noun: string): string =>
  `${grouped(amount)} ${noun}${Number(amount) === 1 ? "" : "s"}`;

export function hex(bytes: Uint8Array, separator = ""): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(separator);
}
