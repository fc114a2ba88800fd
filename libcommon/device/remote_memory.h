/* SPDX-License-Identifier: Apache-2.0
 *
 * For programs in C: a region that uffd-serve(1) serves, as memory of this process (remote_memory.hpp has
 * what there is to know). Link with -lr3common and the C++ library.
 */
#ifndef R3_REMOTE_MEMORY_H
#define R3_REMOTE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct r3_memory;

/* `address`: unix:PATH. `writable`: what is written goes back. NULL with errno set when it fails; `why`,
 * if it is not NULL, then holds at most `length` bytes of text. */
struct r3_memory *r3_memory_open(const char *address, int writable, char *why, size_t length);
void *r3_memory_bytes(const struct r3_memory *memory);
size_t r3_memory_size(const struct r3_memory *memory);
/* The bytes pushed, or -1 with errno set. */
int64_t r3_memory_push(struct r3_memory *memory);
/* Pushes what was written; NULL is allowed. */
void r3_memory_close(struct r3_memory *memory);

#ifdef __cplusplus
}
#endif

#endif
