// Helpers that several program types share.
// Linux: kernel/bpf/helpers.c, bpf_base_func_proto; net/core/filter.c, *_func_proto; checked against Linux 6.18

/** Numbers of the helpers that every packet program may call. */
export const BASE_HELPERS: readonly number[] = [
  1, 2, 3, 5, 6, 7, 8, 12, 14, 15, 16, 17, 22, 25, 35, 37, 42, 55, 80, 87, 88, 89, 93, 94, 105, 106, 109, 112, 113, 114,
  115, 117, 118, 120, 123, 125, 130, 131, 132, 133, 134, 136, 137, 138, 139, 140, 141, 148, 149, 153, 154, 156, 157,
  158, 160, 164, 165, 169, 170, 171, 172, 175, 176, 177, 178, 180, 181, 182, 191, 194, 195, 196, 197, 198, 199, 200,
  201, 202, 203, 208, 209, 210, 211,
];

/** Those that read a socket buffer. */
export const SKB_HELPERS: readonly number[] = [26, 46, 47, 68, 122];
