// One path through the program as it is being walked: the current state, and how the parts of the verifier read and change it.

import { BPF_MAP_TYPE_ARENA } from "../../uapi/map-types.ts";
import type { ProgramModel } from "../programs/model.ts";
import { markPrecise } from "./checkpoint.ts";
import { deny, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { withId } from "./scalar.ts";
import { type Frame, mapValues, type Reference, type State } from "./state.ts";
import type { Structure } from "./structure.ts";
import { isPointer, isScalar, type Value } from "./values.ts";
import type { VerifierInput } from "./verify.ts";

export class Walk {
  readonly input: VerifierInput;
  readonly structure: Structure;
  readonly model: ProgramModel;
  /** Whether the program must not learn addresses: it lacks CAP_PERFMON. */
  readonly mayNotLeak: boolean;
  state: State;
  /** Slot of the instruction being executed. */
  at = 0;
  /** Bytes of stack that each subprogram uses. */
  readonly stackDepths: number[];
  /** Registers that the instruction read or wrote, as bits: what the log shows. */
  touched = 0;
  /** Bytes of the context that were accessed. */
  contextBytes = 0;
  /** Whether the program names an arena. */
  readonly hasArena: boolean;
  /** Slots of loads, stores and 64-bit operations, and whether they work on arena pointers. */
  private readonly arenaUses = new Map<number, boolean>();
  private lastId = 0;

  constructor(input: VerifierInput, structure: Structure, model: ProgramModel, state: State) {
    this.input = input;
    this.structure = structure;
    this.model = model;
    this.mayNotLeak = !input.capabilities.perfmon;
    this.state = state;
    this.hasArena = [...input.maps.values()].some(({ type }) => type === BPF_MAP_TYPE_ARENA);
    this.stackDepths = structure.starts.map(() => 0);
  }

  /** Index of the innermost frame. */
  get depth(): number {
    return this.state.frames.length - 1;
  }

  get frame(): Frame {
    return this.state.frames[this.depth]!;
  }

  /** The machine does otherwise what works on arena pointers, so that an instruction always does, or never. */
  noteArena(isArena: boolean, register: number): void {
    if (!this.hasArena) return;
    if ((this.arenaUses.get(this.at) ?? isArena) !== isArena) {
      reject("context", "same insn cannot be used with different pointers", register);
    }
    this.arenaUses.set(this.at, isArena);
  }

  /** Slots of the instructions that work on arena pointers. */
  get inArena(): ReadonlySet<number> {
    return new Set([...this.arenaUses].flatMap(([at, isArena]) => (isArena ? [at] : [])));
  }

  newId(): number {
    return ++this.lastId;
  }

  /** The value of a register that an instruction reads. */
  read(register: number): Value {
    if (register > 10) reject("opcode", `R${register} is invalid`);
    this.touched |= 1 << register;
    return this.frame.registers[register] ?? deny("uninitialised", `R${register} !read_ok`, register);
  }

  /** Refuses registers that an instruction may not write. */
  checkWritable(register: number): void {
    if (register > 10) reject("opcode", `R${register} is invalid`);
    if (register === 10) deny("frame-pointer", "frame pointer is read only", register);
  }

  write(register: number, value: Value | undefined): void {
    this.checkWritable(register);
    this.touched |= 1 << register;
    this.frame.registers[register] = value;
    this.frame.madeAt[register] = this.at;
  }

  /** The verdict rests on what this value is. */
  needExact(value: Value): void {
    if (isScalar(value)) markPrecise(this.state, value);
  }

  /** Gives a register's number an id, so that a copy stays linked with it. What was moved loses its link. */
  link(register: number): Value {
    const value = this.read(register);
    if (!isScalar(value) || (value.id !== 0 && !value.added) || scalars.isConstant(value)) return value;
    const linked = withId(value, this.newId());
    this.frame.registers[register] = linked;
    return linked;
  }

  acquire(): number {
    const reference: Reference = { id: this.newId(), instruction: this.at };
    this.state.references = [...this.state.references, reference];
    return reference.id;
  }

  /** Ends a reference; pointers that had it become numbers, or nothing where addresses may not be learnt, and its dynptr ends. */
  release(id: number): void {
    this.state.references = this.state.references.filter((reference) => reference.id !== id);
    for (const { stack } of this.state.frames) {
      stack.forEach((slot, index) => {
        if (slot?.dynptr?.reference === id) stack[index] = { types: 0 };
      });
    }
    this.forget((value) => isPointer(value) && value.reference === id);
  }

  /** Refuses `what`, which would end the program, while something is held. */
  checkReleased(what: string): void {
    const { references, lock } = this.state;
    if (references.length > 0) {
      const lines = references.map(({ id, instruction }) => `Unreleased reference id=${id} alloc_insn=${instruction}`);
      reject("reference", [...lines, `${what} would lead to reference leak`].join("\n"));
    }
    if (lock) reject("lock", `${what} cannot be used inside bpf_spin_lock-ed region`);
  }

  /** Makes the values of a state that `which` picks unusable as pointers. */
  forget(which: (value: Value) => boolean, state = this.state): void {
    const forgotten = this.mayNotLeak ? undefined : scalars.UNKNOWN;
    mapValues(state, (value) => (which(value) ? forgotten : value));
  }
}
