#include "stage/mem.h"

#include "stage/exitcode.h"
#include "stage/log.h"

#include <cjson/cJSON.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void
out_of_memory(size_t bytes)
{
	log_error("out of memory bytes=%zu", bytes);
	exit(EXITCODE_AGAIN);
}

void
mem_init(void)
{
	cJSON_Hooks hooks = {.malloc_fn = mem_alloc, .free_fn = free};

	cJSON_InitHooks(&hooks);
}

void *
mem_alloc(size_t bytes)
{
	void *p = malloc(bytes == 0 ? 1 : bytes);

	if (p == NULL)
		out_of_memory(bytes);
	return p;
}

void *
mem_calloc(size_t count, size_t bytes)
{
	void *p = calloc(count == 0 ? 1 : count, bytes == 0 ? 1 : bytes);

	if (p == NULL)
		out_of_memory(count * bytes);
	return p;
}

void *
mem_realloc(void *old, size_t count, size_t bytes)
{
	void *p = reallocarray(old, count == 0 ? 1 : count, bytes);

	if (p == NULL)
		out_of_memory(count * bytes);
	return p;
}

char *
mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *
mem_strndup(const char *s, size_t n)
{
	char *copy = mem_alloc(n + 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *
mem_printf(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n == -1)
		out_of_memory(0);
	return text;
}
