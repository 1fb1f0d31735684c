// Walks every path through the program, depth first, until each has ended or is covered by one that was walked before.
// Linux: kernel/bpf/verifier.c, do_check, is_state_visited

import { type Instruction, LD_IMM64 } from "../../asm/instruction.ts";
import type { Diagnosis } from "../../diagnosis/diagnosis.ts";
import { E2BIG } from "../../uapi/errno.ts";
import { BPF_F_SLEEPABLE } from "../../uapi/flags.ts";
import * as insn from "../../uapi/insn.ts";
import { BPF_MAP_TYPE_ARENA } from "../../uapi/map-types.ts";
import { programModels } from "../programs/programs.ts";
import { alu } from "./arithmetic.ts";
import { atomic } from "./atomic.ts";
import { branch } from "./branches.ts";
import { functionPointer } from "./callbacks.ts";
import { callHelper, callSubprogram, returnToCaller } from "./calls.ts";
import { type Checkpoint, covers, inherit, isFinal, takeCheckpoint } from "./checkpoint.ts";
import { checkStackDepth } from "./depth.ts";
import { diagnose } from "./diagnose.ts";
import { callKernelFunction } from "./kernel-functions.ts";
import { checkUnlocked } from "./locks.ts";
import { Log } from "./log.ts";
import { load, store } from "./memory.ts";
import { loadFromPacket } from "./packet-load.ts";
import { deny, Refusal, reject } from "./refusal.ts";
import { checkReturn } from "./return-value.ts";
import * as scalars from "./scalar.ts";
import { copyState, newFrame, type State } from "./state.ts";
import { CALL, checkStructure, EXIT, isKernelFunctionCall, isLocalCall, isTailCall, jumpTarget } from "./structure.ts";
import { isPacket, isPointer, isScalar, isSocket, type PointerKind, pointer } from "./values.ts";
import type { Statistics, Verdict, VerifierInput } from "./verify.ts";
import { Walk } from "./walk.ts";

export function explore(input: VerifierInput): Verdict {
  const log = new Log(input);
  let search: Search | undefined;
  try {
    search = prepare(input, log);
    search.run();
    checkStackDepth(input.instructions, search.walk.structure, search.walk.stackDepths);
    const { statistics } = search;
    const { contextBytes, inArena } = search.walk;
    return { ok: true, log: input.logLevel ? log.finish(statistics) : "", statistics, contextBytes, inArena };
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    log.message(refusal.message);
    const diagnosis: Diagnosis = diagnose(input, refusal, search?.walk);
    const text = input.logLevel ? log.finish(search?.statistics ?? NOTHING) : "";
    return { ok: false, errno: refusal.errno, log: text, diagnosis };
  }
}

const NOTHING: Statistics = {
  instructionsProcessed: 0,
  maxStatesPerInstruction: 0,
  totalStates: 0,
  peakStates: 0,
  stackDepths: [0],
};
/** Paths that may wait to be walked. */
const MAX_PENDING = 8192;

function prepare(input: VerifierInput, log: Log): Search {
  const model = programModels.get(input.type);
  if (!model) reject("unsupported", `program type ${input.type} is not in the embedded kernel yet`);
  if (!input.capabilities.bpf) reject("privilege", "programs of users without CAP_BPF are not in the embedded kernel");
  const isSleepable = (input.flags & BPF_F_SLEEPABLE) !== 0;
  if (model.sleepable && !isSleepable) reject("privilege", "Syscall programs can only be sleepable");
  if (!model.sleepable && isSleepable) {
    reject("privilege", "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable");
  }
  const structure = checkStructure(input);
  const frame = newFrame(0, -1);
  frame.registers[1] = pointer("ctx");
  frame.registers[10] = pointer("fp");
  const state: State = {
    frames: [frame],
    references: [],
    callbacks: 0,
    lock: undefined,
    parent: undefined,
    written: 0n,
    history: undefined,
  };
  return new Search(new Walk(input, structure, model, state), log);
}

/** A path that is yet to be walked. */
interface Pending {
  readonly state: State;
  readonly at: number;
  /** The jump that leads there. */
  readonly from: number;
  readonly logLength: number;
}

class Search {
  readonly walk: Walk;
  private readonly log: Log;
  private readonly pending: Pending[] = [];
  private readonly checkpoints = new Map<number, Checkpoint[]>();
  /** Kind of the pointer through which each instruction accesses memory. */
  private readonly accessKinds = new Map<number, PointerKind>();
  private processed = 0;
  private jumps = 0;
  private processedAtCheckpoint = 0;
  private jumpsAtCheckpoint = 0;
  private totalStates = 0;
  private maxStates = 0;
  private keptStates = 0;
  private peakStates = 0;

  constructor(walk: Walk, log: Log) {
    this.walk = walk;
    this.log = log;
  }

  get statistics(): Statistics {
    return {
      instructionsProcessed: this.processed,
      maxStatesPerInstruction: this.maxStates,
      totalStates: this.totalStates,
      peakStates: this.peakStates,
      stackDepths: this.walk.stackDepths,
    };
  }

  run(): void {
    const { walk, log } = this;
    log.state("0", walk.state);
    for (;;) {
      if (++this.processed > insn.BPF_COMPLEXITY_LIMIT_INSNS) {
        throw new Refusal(E2BIG, "complexity", `BPF program is too large. Processed ${this.processed} insn`);
      }
      const next = this.isCovered() ? undefined : this.step();
      if (next !== undefined) walk.at = next;
      else if (!this.nextPath()) return;
    }
  }

  /** Executes an instruction; gives the next slot, or undefined where the path ends. */
  private step(): number | undefined {
    const { walk, log } = this;
    log.instruction(walk.at);
    const before = log.walks ? copyState(walk.state) : undefined;
    walk.touched = 0;
    const next = this.execute(walk.input.instructions[walk.at]!);
    if (before) log.changes(before, walk.state, walk.touched);
    return next;
  }

  private execute(instruction: Instruction): number | undefined {
    const { walk } = this;
    switch (instruction.opcode & 7) {
      case insn.BPF_ALU:
      case insn.BPF_ALU64:
        alu(walk, instruction);
        break;
      case insn.BPF_LD:
        if (instruction.opcode !== LD_IMM64) {
          loadFromPacket(walk, instruction);
          break;
        }
        this.loadConstant(instruction);
        return walk.at + 2;
      case insn.BPF_LDX:
        this.loadMemory(instruction);
        break;
      case insn.BPF_ST:
      case insn.BPF_STX:
        this.storeMemory(instruction);
        break;
      default:
        return this.jump(instruction);
    }
    return walk.at + 1;
  }

  private loadConstant({ dst, src, off, imm }: Instruction): void {
    const { walk } = this;
    if (off !== 0) reject("opcode", "BPF_LD_IMM64 uses reserved fields");
    const high = walk.input.instructions[walk.at + 1]!.imm;
    const map = walk.input.maps.get(walk.at);
    if (src === insn.BPF_PSEUDO_FUNC) walk.write(dst, functionPointer(walk, walk.at + 1 + imm));
    else if (src === 0) walk.write(dst, scalars.constant((BigInt(high) << 32n) | BigInt(imm >>> 0)));
    else if (src === insn.BPF_PSEUDO_MAP_FD || src === insn.BPF_PSEUDO_MAP_IDX) {
      walk.write(dst, pointer("map_ptr", { map: map! }));
    } else if (map!.type === BPF_MAP_TYPE_ARENA) walk.write(dst, scalars.UNKNOWN);
    else walk.write(dst, pointer("map_value", { map: map!, offset: high >>> 0 }));
  }

  private loadMemory({ opcode, dst, src, off }: Instruction): void {
    const { walk } = this;
    this.checkAccessKind(src);
    walk.checkWritable(dst);
    const signed = (opcode & 0xe0) === insn.BPF_MEMSX;
    walk.write(dst, load(walk, { register: src, offset: off, size: sizeOf(opcode), signed }));
  }

  private storeMemory(instruction: Instruction): void {
    const { walk } = this;
    const { opcode, dst, src, off, imm } = instruction;
    const access = { register: dst, offset: off, size: sizeOf(opcode) };
    if ((opcode & 7) === insn.BPF_ST) {
      if (src !== 0) reject("opcode", "BPF_ST uses reserved fields");
      this.checkAccessKind(dst);
      store(walk, access, scalars.constant(BigInt(imm)), undefined);
      return;
    }
    if ((opcode & 0xe0) === insn.BPF_ATOMIC) {
      atomic(walk, instruction, access);
      return;
    }
    if (imm !== 0) reject("opcode", "BPF_STX uses reserved fields");
    const value = walk.read(src);
    this.checkAccessKind(dst);
    store(walk, access, value, src);
  }

  /** An instruction that once accesses the context always does. */
  private checkAccessKind(register: number): void {
    const { walk } = this;
    const value = walk.read(register);
    if (!isPointer(value)) return;
    const before = this.accessKinds.get(walk.at) ?? value.kind;
    this.accessKinds.set(walk.at, value.kind);
    const isAlone = (kind: PointerKind): boolean => kind === "ctx" || isSocket(kind);
    if (before !== value.kind && (isAlone(before) || isAlone(value.kind))) {
      reject("context", "same insn cannot be used with different pointers", register);
    }
  }

  private jump(instruction: Instruction): number | undefined {
    const { walk } = this;
    const { opcode, dst, src, off, imm } = instruction;
    this.jumps++;
    if (opcode === CALL) {
      this.note("called");
      if (isLocalCall(instruction)) {
        callSubprogram(walk, instruction);
        return walk.at + 1 + imm;
      }
      checkUnlocked(walk, instruction);
      if (isKernelFunctionCall(instruction)) {
        callKernelFunction(walk, instruction);
        return walk.at + 1;
      }
      const callback = callHelper(walk, instruction);
      if (callback) this.wait(callback.state, callback.start);
      if (isTailCall(instruction) && walk.depth > 0) this.leaveByTailCall();
      return walk.at + 1;
    }
    if (opcode === EXIT) {
      if (dst !== 0 || src !== 0 || imm !== 0) reject("opcode", "BPF_EXIT uses reserved fields");
      if (walk.depth > 0) return returnToCaller(walk);
      checkExit(walk);
      return undefined;
    }
    const operation = opcode & 0xf0;
    if (operation === insn.BPF_JA) {
      const unused = (opcode & 7) === insn.BPF_JMP ? imm : off;
      if (dst !== 0 || src !== 0 || unused !== 0) reject("opcode", "BPF_JA uses reserved fields");
      return jumpTarget(instruction, walk.at);
    }
    if (operation === insn.BPF_JCOND) reject("unsupported", "may_goto is not in the embedded kernel yet");
    return this.conditional(instruction);
  }

  private conditional(instruction: Instruction): number {
    const { walk } = this;
    const target = jumpTarget(instruction, walk.at);
    const { certain, refine } = branch(walk, instruction);
    if (certain !== undefined) return certain ? target : walk.at + 1;
    const other = copyState(walk.state);
    refine(other, true);
    refine(walk.state, false);
    const step = { instruction: walk.at, before: walk.state.history };
    other.history = { ...step, text: "taken" };
    walk.state.history = { ...step, text: "not taken" };
    this.wait(other, target);
    return walk.at + 1;
  }

  /** The program that a tail call in a subprogram went to has ended: it returns to the caller, with any number, and may have moved the packet. */
  private leaveByTailCall(): void {
    const { walk } = this;
    if (walk.frame.isCallback) reject("callback", "tail_call is not allowed in callbacks");
    const state = copyState(walk.state);
    const { returnTo } = state.frames.pop()!;
    const caller = state.frames.at(-1)!;
    caller.registers[0] = scalars.UNKNOWN;
    caller.madeAt[0] = walk.at;
    walk.forget(isPacket, state);
    state.history = { instruction: walk.at, text: "tail call", before: state.history };
    this.wait(state, returnTo);
  }

  /** Keeps another way on for later. */
  private wait(state: State, at: number): void {
    const { walk, log, pending } = this;
    if (pending.length >= MAX_PENDING) {
      throw new Refusal(E2BIG, "complexity", `The sequence of ${pending.length + 1} jumps is too complex.`);
    }
    if (state.parent) state.parent.branches++;
    pending.push({ state, at, from: walk.at, logLength: log.length });
  }

  private note(text: string): void {
    const { walk } = this;
    walk.state.history = { instruction: walk.at, text, before: walk.state.history };
  }

  /** Whether the current state was walked from before; otherwise keeps it where it may come again. */
  private isCovered(): boolean {
    const { walk } = this;
    if (!walk.structure.meets[walk.at]) return false;
    const known = this.checkpoints.get(walk.at) ?? [];
    const live = this.liveByFrame();
    const jumps = this.jumps - this.jumpsAtCheckpoint;
    const processed = this.processed - this.processedAtCheckpoint;
    const callsBack = walk.structure.callsBack[walk.at] === 1;
    let keep = callsBack || (jumps >= 2 && processed >= 8);
    for (let index = 0; index < known.length; index++) {
      const checkpoint = known[index]!;
      const isOpen = checkpoint.branches > 0;
      if (isOpen && !callsBack) {
        const isStuck = checkpoint.state.callbacks === walk.state.callbacks;
        if (isStuck && covers(checkpoint, walk.state, live, "equal")) {
          reject("loop", `infinite loop detected at insn ${walk.at}`);
        }
        if (jumps < 20 && processed < 100) keep = false;
      } else if (covers(checkpoint, walk.state, live, isFinal(checkpoint) ? "relevant" : "all")) {
        checkpoint.hits++;
        inherit(walk.state, checkpoint);
        this.log.state(`${walk.at}: safe`, walk.state);
        return true;
      }
      const patience = callsBack && isOpen ? 64 : 3;
      if (keep && ++checkpoint.misses > patience * checkpoint.hits + patience) {
        known.splice(index--, 1);
        this.keptStates--;
      }
    }
    if (!keep) return false;
    known.push(takeCheckpoint(walk.state, walk.at));
    this.checkpoints.set(walk.at, known);
    this.processedAtCheckpoint = this.processed;
    this.jumpsAtCheckpoint = this.jumps;
    this.totalStates++;
    this.peakStates = Math.max(this.peakStates, ++this.keptStates);
    this.maxStates = Math.max(this.maxStates, known.length);
    return false;
  }

  /** Registers that each frame will read. */
  private liveByFrame(): number[] {
    const { structure, state, depth, at } = this.walk;
    return state.frames.map((_, number) => {
      if (number === depth) return structure.live[at]!;
      const { returnTo, isCallback } = state.frames[number + 1]!;
      return isCallback ? structure.live[returnTo]! : structure.live[returnTo]! & CALLEE_SAVED;
    });
  }

  /** Goes on with the path that waits, the newest first. */
  private nextPath(): boolean {
    const { walk, log } = this;
    for (let at = walk.state.parent; at && --at.branches === 0; ) at = at.parent;
    const next = this.pending.pop();
    if (!next) return false;
    walk.state = next.state;
    walk.at = next.at;
    log.rewind(next.logLength);
    log.state(`from ${next.from} to ${next.at}`, next.state);
    return true;
  }
}

const CALLEE_SAVED = 0b1111000000;

const sizes: Readonly<Record<number, number>> = { [insn.BPF_B]: 1, [insn.BPF_H]: 2, [insn.BPF_W]: 4, [insn.BPF_DW]: 8 };
const sizeOf = (opcode: number) => sizes[opcode & 0x18]!;

/** The end of the main program: nothing is held, and r0 is what this type may return. */
function checkExit(walk: Walk): void {
  walk.checkReleased("BPF_EXIT instruction in main prog");
  const result = walk.read(0);
  if (walk.mayNotLeak && isPointer(result)) deny("leak", "R0 leaks addr as return value", 0);
  const range = walk.model.returns?.(walk.input.expectedAttachType);
  if (!range) return;
  if (!isScalar(result)) {
    reject("return-value", `At program exit the register R0 is not a known value (${result.kind})`, 0);
  }
  checkReturn(walk, result, range, "At program exit");
}
