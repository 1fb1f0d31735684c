// skep/btf: type information, and the codecs made from it.

export { Btf, BtfError, type BtfErrorCode, type BtfMember, type BtfType, parseBtf } from "./btf.ts";
export { codecOf } from "./codec.ts";
