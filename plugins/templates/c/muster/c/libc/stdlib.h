// As much of the standard library as the bindings need; the rest is in muster.c.
#pragma once
#include <stddef.h>

void *malloc(size_t size);
void *realloc(void *old, size_t size);
void free(void *memory);
_Noreturn void abort(void);
