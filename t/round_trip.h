/*
 * What `check` prints is a configuration that says the same: it is read again,
 * comments and all, and must come to the same text, commands included.
 */
#ifndef T_ROUND_TRIP_H
#define T_ROUND_TRIP_H

#include "supervisor/config.h"
#include "supervisor/outline.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns what is printed of a configuration; the caller frees it. */
static inline char *
round_trip_print(const struct config *config)
{
	static const struct command_context context = {
	    .bin_dir = "/bin",
	    .state_dir = "/state",
	};
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	assert(out != NULL);
	assert(outline_print(config, &context, out) == 0);
	assert(fclose(out) == 0);
	return text;
}

/* Fails if a configuration without faults is not the same when read again. */
static inline void
round_trip_assert(const struct config *config)
{
	char *text = round_trip_print(config), *again;
	struct config other;
	struct faults faults, notes;

	config_init(&other);
	faults_init(&faults);
	faults_init(&notes);
	config_add(&other, "again.yaml", "/", (const uint8_t *)text,
	    strlen(text), &faults);
	assert(faults.count == 0);
	config_finish(&other, &faults, &notes);
	assert(faults.count == 0);
	again = round_trip_print(&other);
	assert(strcmp(again, text) == 0);
	free(again);
	free(text);
	faults_fini(&notes);
	faults_fini(&faults);
	config_fini(&other);
}

#endif
