// What the machine calls of the TypeScript that holds it.

/** Answers a helper: arguments at ARGUMENTS, the result goes to RESULT. It may run programs. */
export declare function helper(id: i32): void;

/** A ring buffer has something for its readers. */
export declare function wake(map: usize): void;
