#include "supervisor/faults.h"

#include "stage/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Longest sentence kept; a log line holds less. */
#define FAULT_BYTES 1024

void
faults_init(struct faults *faults)
{
	*faults = (struct faults){0};
}

void
faults_fini(struct faults *faults)
{
	for (size_t i = 0; i < faults->count; i++)
		free(faults->text[i]);
	faults_init(faults);
}

void
faults_add(
    struct faults *faults, const struct place *place, const char *format, ...)
{
	char sentence[FAULT_BYTES];
	va_list args;

	if (faults->count == FAULTS_MAX) {
		faults->more++;
		return;
	}
	va_start(args, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	faults->text[faults->count++] = mem_printf("%s:%zu:%zu: %s",
	    place->file, place->line, place->column, sentence);
}
