// The format strings of bpf_trace_printk.
// Linux: bpf_bprintf_prepare in kernel/bpf/helpers.c

/** What the machine's memory has to say to a format. */
interface Strings {
  /** The text at an address up to its NUL; empty where there is none. */
  at(address: bigint): string;
}

/** flags, width, length, conversion */
const SPECIFIER = /%(%|([0+\- ]*)([1-9][0-9]*)?(?:(ll|l)?([diuxX])|(s)|(c)|p([KxsSB])?))/y;

const MAX_WIDTH = (1 << 23) - 1;

/** The text that a format and its arguments make; undefined where Linux calls the format invalid. */
export function format(text: string, args: readonly bigint[], strings: Strings): string | undefined {
  // Linux prints the C locale: bytes that are printable ASCII or white space.
  if (!/^[\x20-\x7e\s]*$/.test(text)) return undefined;
  let result = "";
  let used = 0;
  for (let i = 0; i < text.length; ) {
    if (text[i] !== "%") {
      result += text[i++];
      continue;
    }
    SPECIFIER.lastIndex = i;
    const match = SPECIFIER.exec(text);
    if (match === null) return undefined;
    i = SPECIFIER.lastIndex;
    if (match[1] === "%") {
      result += "%";
      continue;
    }
    const value = args[used++];
    if (value === undefined) return undefined;
    result += pad(convert(match, value, strings), match[2] ?? "", Math.min(Number(match[3] ?? 0), MAX_WIDTH));
  }
  return result;
}

function convert([, , flags, , length, integer, string, character]: RegExpExecArray, value: bigint, strings: Strings) {
  if (string !== undefined) return strings.at(value);
  if (character !== undefined) return String.fromCharCode(Number(value & 0xffn));
  if (integer === undefined) return value.toString(16).padStart(16, "0");
  const bits = length === undefined ? 32 : 64;
  const isSigned = integer === "d" || integer === "i";
  const number = isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
  if (integer === "x") return number.toString(16);
  if (integer === "X") return number.toString(16).toUpperCase();
  const sign = isSigned && number >= 0n ? /[+ ]/.exec(flags ?? "") : null;
  return `${sign?.[0] ?? ""}${number}`;
}

function pad(text: string, flags: string, width: number): string {
  if (flags.includes("-")) return text.padEnd(width);
  if (!flags.includes("0")) return text.padStart(width);
  const sign = /^[-+ ]?/.exec(text)?.[0] ?? "";
  return sign + text.slice(sign.length).padStart(width - sign.length, "0");
}
